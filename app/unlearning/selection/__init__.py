"""Which coordinates a method may change: scores, budgets, selections."""

from app.unlearning.selection.budget import (
    Budget,
    budget_count,
    proportional_quotas,
    ranked_together,
    select_extreme,
)
from app.unlearning.selection.greedy import greedy_positions
from app.unlearning.selection.scores import (
    decrement_scores,
    last_layer,
    magnitude_scores,
    random_scores,
)
from app.unlearning.selection.selection import Selection

__all__ = [
    "Budget",
    "Selection",
    "budget_count",
    "decrement_scores",
    "greedy_positions",
    "last_layer",
    "magnitude_scores",
    "proportional_quotas",
    "random_scores",
    "ranked_together",
    "select_extreme",
]
