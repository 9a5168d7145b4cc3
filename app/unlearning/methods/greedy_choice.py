"""Choose among candidates greedily, by the curvature between them on the edited data."""

from collections.abc import Mapping

import torch
from torch import Tensor

from app.unlearning.problem import Problem
from app.unlearning.sampling import uniform_sample
from app.unlearning.selection import (
    Budget,
    Selection,
    greedy_positions,
    proportional_quotas,
    ranked_together,
    select_extreme,
)
from app.unlearning.solvers.captured_block import captured_block

# Candidates for each scalar to select, at least, and at most.
_CANDIDATES, _FEW_CANDIDATES, _MOST_CANDIDATES = 4, 128, 2048
# Rows on which the curvature between them is taken.
_ROWS = 8192


def choose_greedily(
    problem: Problem,
    scores: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    count: int,
    budget: Budget,
    damping: float,
    kept: Selection,
) -> tuple[Selection, int]:
    """Rank the candidates of largest score again, by what each gains beside those chosen before.

    Above 2,048 scalars to select there is nothing to rank again: the scores decide.

    Args:
        problem: The problem.
        scores: Of all scalars by name; kept ones before all others.
        gradient: Of the edited loss, by name.
        count: Scalars to select, ``kept`` included.
        budget: As in :func:`select_extreme`.
        damping: Added to the diagonal of the curvature, in its units.
        kept: Scalars that stay selected.

    Returns:
        The selection, and the rows passed over for the curvature.
    """
    most = min(max(_CANDIDATES * count, _FEW_CANDIDATES), _MOST_CANDIDATES)
    candidates = select_extreme(scores, max(count, most), budget=budget).touched()
    if not 0 < count < candidates.count:
        return select_extreme(scores, count, budget=budget), 0
    generator = torch.Generator().manual_seed(problem.generator_seed)
    rows = uniform_sample(problem.edited, _ROWS, generator)
    block = captured_block(problem.model, problem.objective, rows, candidates)
    block.diagonal().add_(problem.objective.weight_decay + damping)
    groups = ranked_together(tuple(scores), budget)
    sizes = [sum(scores[name].numel() for name in group) for group in groups]
    numbers = {
        name: torch.full_like(scores[name], number, dtype=torch.int64)
        for number, group in enumerate(groups)
        for name in group
    }
    none = {name: torch.zeros_like(mask) for name, mask in candidates.masks.items()}
    chosen = greedy_positions(
        block,
        candidates.gather(gradient),
        count,
        kept=candidates.gather({**none, **kept.masks}),
        groups=candidates.gather(numbers),
        quotas=proportional_quotas(sizes, count),
    )
    taken = block.new_zeros(candidates.count)
    taken[chosen] = 1.0
    return Selection({n: mask > 0 for n, mask in candidates.scatter(taken).items()}), len(rows)
