"""Choose scalars one after the other by what each still gains beside those chosen already.

The decrement ``g^2 / h`` of a scalar counts what it gains alone. Scalars of correlated features
gain the same thing, and the largest decrements then pay for it several times. Here the scores are
those of the quadratic model once it has been minimised over the scalars chosen so far: gradient and
curvature are replaced by their Schur complements, by one step of a pivoted Cholesky factorisation
for each choice. This is orthogonal least squares (Chen, Billings and Luo 1989) for a quadratic.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def greedy_positions(
    block: Tensor,
    gradient: Tensor,
    count: int,
    *,
    kept: Tensor | None = None,
    groups: Tensor | None = None,
    quotas: Sequence[int] | None = None,
) -> Tensor:
    """Choose ``count`` of k candidates for the model ``g^T d + d^T H d / 2``.

    O(k count^2) operations, O(k count) memory.

    Args:
        block: H, (k, k), positive definite.
        gradient: g, (k,).
        count: How many to choose; capped at k.
        kept: (k,) boolean: candidates that are chosen before all others.
        groups: (k,) int64, to which group a candidate belongs; None for one group.
        quotas: The most to choose from each group, kept ones included; None for no limits.

    Returns:
        Positions, int64, in the order of choice; fewer than ``count`` where the quotas end before.
    """
    count = min(count, len(gradient))
    slope, height = gradient.double().clone(), block.diagonal().double().clone()
    least = torch.finfo(torch.float64).eps * float(height.max()) if count else 0.0
    columns = slope.new_zeros(count, len(slope))
    open_to_choice = torch.ones_like(slope, dtype=torch.bool)
    room = None if quotas is None else list(quotas)
    chosen: list[int] = []
    for group, most in enumerate(room or ()):
        if most <= 0 and groups is not None:
            open_to_choice &= groups != group
    while len(chosen) < count:
        gains = slope.square() / height.clamp(min=least)
        if kept is not None and bool((kept & open_to_choice).any()):
            gains[kept] = torch.inf
        gains[~open_to_choice] = -1.0
        best = int(gains.argmax())
        if float(gains[best]) < 0.0:
            break
        step, pivot = len(chosen), max(float(height[best]), least) ** 0.5
        column = block[best].double() - columns[:step, best] @ columns[:step]
        columns[step] = column / pivot
        slope -= columns[step] * (slope[best] / pivot).clone()
        height -= columns[step].square()
        open_to_choice[best] = False
        chosen.append(best)
        if room is not None and groups is not None:
            group = int(groups[best])
            room[group] -= 1
            if room[group] <= 0:
                open_to_choice &= groups != group
    return torch.tensor(chosen, dtype=torch.int64, device=gradient.device)
