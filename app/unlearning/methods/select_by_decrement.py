"""Choose the scalars whose Newton decrement on the edited data is largest, alone or together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.curvature_at_hand import curvature_at_hand
from app.unlearning.problem import Problem
from app.unlearning.sampling import uniform_sample
from app.unlearning.selection import (
    Budget,
    Selection,
    decrement_scores,
    greedy_positions,
    proportional_quotas,
    select_extreme,
)
from app.unlearning.solvers.captured_block import captured_block

Scope = Literal["tail", "all"]
Ranking = Literal["decrement", "greedy"]

# Candidates of the greedy ranking for each scalar to select, at least, and at most.
_CANDIDATES, _FEW_CANDIDATES, _MOST_CANDIDATES = 4, 128, 2048
# Rows on which the curvature between them is taken.
_ROWS = 8192


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
    ranking: Ranking = "decrement",
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
        ranking: ``greedy`` ranks the candidates of largest decrement again, by what each gains
            beside those chosen before it.

    Returns:
        The selection.

    Raises:
        NonFinite: The gradient or the curvature is not finite.
    """
    parameters = problem.parameters
    everything = Selection.everything({name: parameters[name] for name in names})
    if count >= everything.count:
        return Chosen(everything, "none needed", 0)
    loss = EditedLoss(problem)
    gradient = loss.gradient({name: parameters[name] for name in names})
    diagonal = curvature_at_hand(problem, names)
    decay = problem.objective.weight_decay
    curvature = {name: diagonal.values[name] + decay for name in names}
    absolute = _absolute(damping, curvature)
    scores = _first(decrement_scores(gradient, curvature, absolute), kept)
    evaluations = loss.gradient_evaluations + diagonal.gradient_evaluations
    if ranking == "greedy" and count < _MOST_CANDIDATES:
        most = min(max(_CANDIDATES * count, _FEW_CANDIDATES), _MOST_CANDIDATES)
        candidates = select_extreme(scores, most, budget=budget).touched()
        if candidates.count > count > 0:
            selection, read = _greedily(
                problem, candidates, gradient, count, budget, absolute, kept
            )
            return Chosen(selection, diagonal.estimator, evaluations + read)
    selection = select_extreme(scores, count, budget=budget)
    return Chosen(selection.touched(), diagonal.estimator, evaluations)


def _greedily(
    problem: Problem,
    candidates: Selection,
    gradient: Mapping[str, Tensor],
    count: int,
    budget: Budget,
    damping: float,
    kept: Selection,
) -> tuple[Selection, int]:
    """Choose among the candidates, and say how many row gradients that counts for."""
    generator = torch.Generator().manual_seed(problem.generator_seed)
    rows = uniform_sample(problem.edited, _ROWS, generator)
    block = captured_block(problem.model, problem.objective, rows, candidates)
    block.diagonal().add_(problem.objective.weight_decay + damping)
    groups = quotas = None
    if budget == "per_tensor":
        quotas = proportional_quotas([g.numel() for g in gradient.values()], count)
        numbers = {name: torch.full_like(g, i) for i, (name, g) in enumerate(gradient.items())}
        groups = candidates.gather(numbers).long()
    none = {name: torch.zeros_like(mask) for name, mask in candidates.masks.items()}
    chosen = greedy_positions(
        block,
        candidates.gather(gradient),
        count,
        kept=candidates.gather(none | dict(kept.masks)),
        groups=groups,
        quotas=quotas,
    )
    taken = block.new_zeros(candidates.count)
    taken[chosen] = 1.0
    masks = {name: mask > 0 for name, mask in candidates.scatter(taken).items()}
    return Selection(masks).touched(), len(rows)


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
