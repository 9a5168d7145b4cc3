"""Choose the scalars whose own Newton decrement on the edited data is largest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.curvature_at_hand import curvature_at_hand
from app.unlearning.problem import Problem
from app.unlearning.selection import Budget, Selection, decrement_scores, select_extreme

Scope = Literal["tail", "all"]


@dataclass(frozen=True)
class Chosen:
    """A selection and what it cost.

    Attributes:
        selection: The scalars chosen.
        estimator: Where the curvature came from.
        gradient_evaluations: Gradients computed, counted per row.
    """

    selection: Selection
    estimator: str
    gradient_evaluations: int


def select_by_decrement(
    problem: Problem,
    names: tuple[str, ...],
    count: int,
    budget: Budget,
    damping: float,
    kept: Selection,
) -> Chosen:
    """Select ``count`` scalars of ``names`` by ``g^2 / (h + damping)``.

    ``g`` is the gradient of the edited loss at the network's parameters; ``h`` the diagonal
    curvature at hand plus the weight decay (the curvature kept with a version is that of its
    training rows, of which the edited data differ little).

    Args:
        problem: The problem.
        names: The candidates.
        count: Scalars to select, ``kept`` included.
        budget: As in :func:`select_extreme`.
        damping: In units of the mean of ``h``.
        kept: Scalars that stay selected.

    Returns:
        The selection.

    Raises:
        NonFinite: The gradient or the curvature is not finite.
    """
    loss = EditedLoss(problem)
    parameters = problem.parameters
    gradient = loss.gradient({name: parameters[name] for name in names})
    diagonal = curvature_at_hand(problem, names)
    decay = problem.objective.weight_decay
    curvature = {name: diagonal.values[name] + decay for name in names}
    scores = decrement_scores(gradient, curvature, _absolute(damping, curvature))
    selection = select_extreme(_first(scores, kept), count, budget=budget)
    evaluations = loss.gradient_evaluations + diagonal.gradient_evaluations
    return Chosen(selection.touched(), diagonal.estimator, evaluations)


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
    top = 1.0 + 2.0 * max(float(score.max()) for score in scores.values() if score.numel())
    return {
        name: torch.where(kept.masks[name], top, score) if name in kept.masks else score
        for name, score in scores.items()
    }
