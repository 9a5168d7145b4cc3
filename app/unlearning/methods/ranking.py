"""Choose scalars by a rule that ranks them on the edited data.

* ``decrement``: each scalar's own Newton decrement, ``g^2 / (h + damping)``;
* ``greedy``: what each scalar gains beside those chosen before it, by the curvature between the
  2,048 candidates of largest decrement;
* ``gradient``: the magnitude of ``g`` (SalUn, Fan et al. 2024), which takes no curvature;
* ``largest``, ``smallest``: ``h`` alone.

``g`` is the gradient of the edited loss at the network's parameters; ``h`` the diagonal curvature
at hand plus the weight decay (the curvature kept with a version is that of its training rows, of
which the edited data differ little).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.curvature_at_hand import CurvatureAtHand, Estimating, curvature_at_hand
from app.unlearning.methods.greedy_choice import choose_greedily
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Budget,
    Selection,
    decrement_scores,
    magnitude_scores,
    select_extreme,
)

Scope = Literal["tail", "all"]
Rule = Literal["decrement", "greedy", "gradient", "largest", "smallest"]

_NO_CURVATURE = CurvatureAtHand({}, "", 0)


@dataclass(frozen=True)
class Chosen:
    """A selection and what it cost.

    Attributes:
        selection: The scalars chosen.
        estimator: Where the curvature came from; empty if the rule takes none.
        gradient_evaluations: Gradients computed, counted per row.
        fallbacks: Why the curvature took a slower way, a sentence each.
    """

    selection: Selection
    estimator: str
    gradient_evaluations: int
    fallbacks: tuple[str, ...] = ()


def select_ranked(
    problem: Problem,
    names: tuple[str, ...],
    count: int,
    budget: Budget,
    damping: float,
    kept: Selection,
    *,
    rule: Rule = "decrement",
    how: Estimating | None = None,
) -> Chosen:
    """Select ``count`` scalars of ``names`` by a rule.

    Args:
        problem: The problem.
        names: The candidates.
        count: Scalars to select, ``kept`` included.
        budget: As in :func:`select_extreme`.
        damping: Of the decrement, in units of the mean of ``h``.
        kept: Scalars that stay selected.
        rule: See the module.
        how: Which diagonal ``h`` is.

    Returns:
        The selection.

    Raises:
        NonFinite: The gradient or the curvature is not finite.
    """
    everything = Selection.everything({name: problem.parameters[name] for name in names})
    if count >= everything.count:
        return Chosen(everything, "none needed", 0)
    gradient: Mapping[str, Tensor] = {}
    cost = 0
    if rule in ("decrement", "greedy", "gradient"):
        loss = EditedLoss(problem)
        gradient = loss.gradient({name: problem.parameters[name] for name in names})
        cost = loss.gradient_evaluations
    found = _NO_CURVATURE
    if rule != "gradient":
        found = curvature_at_hand(problem, names, how=how)
    decay = problem.objective.weight_decay
    curvature = {name: h + decay for name, h in found.values.items()}
    scores = _first(_scores(rule, gradient, curvature, damping), kept)
    cost += found.gradient_evaluations
    if rule == "greedy":
        absolute = _absolute(damping, curvature)
        selection, read = choose_greedily(problem, scores, gradient, count, budget, absolute, kept)
        cost += read
    else:
        selection = select_extreme(scores, count, budget=budget)
    return Chosen(selection.touched(), found.estimator, cost, found.fallbacks)


def _scores(
    rule: Rule, gradient: Mapping[str, Tensor], curvature: Mapping[str, Tensor], damping: float
) -> Mapping[str, Tensor]:
    """What is ranked, the largest first."""
    if rule == "gradient":
        return magnitude_scores(gradient)
    if rule in ("decrement", "greedy"):
        return decrement_scores(gradient, curvature, _absolute(damping, curvature))
    sign = 1 if rule == "largest" else -1
    return {name: sign * h for name, h in curvature.items()}


def _absolute(damping: float, curvature: Mapping[str, Tensor]) -> float:
    """Turn a relative damping into one that keeps the scores finite."""
    total = sum(float(h.double().clamp(min=0).sum()) for h in curvature.values())
    mean = total / max(1, sum(h.numel() for h in curvature.values()))
    # Where the curvature vanishes altogether the scores rank by gradient, whatever the number.
    return damping * mean if damping * mean > 0 else 1e-12


def _first(scores: Mapping[str, Tensor], kept: Selection) -> dict[str, Tensor]:
    """Rank kept scalars before all others."""
    if not kept.masks:
        return dict(scores)
    top = 1.0 + 2.0 * max(float(score.abs().max()) for score in scores.values() if score.numel())
    return {
        name: torch.where(kept.masks[name], top, score) if name in kept.masks else score
        for name, score in scores.items()
    }
