"""Turn scores into a selection of an exact size.

Ties are broken by position (the earlier tensor, then the earlier scalar), so that the same scores
give the same selection on every machine.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.errors import NonFinite
from app.unlearning.selection.selection import Selection

Budget = Literal["global", "per_layer", "per_tensor"]


def budget_count(fraction: float, total: int) -> int:
    """The number of scalars that a share of ``total`` allows: rounded down, at least one.

    >>> budget_count(0.05, 1000), budget_count(0.05, 3), budget_count(0.0, 10)
    (50, 1, 0)
    """
    if fraction <= 0 or total == 0:
        return 0
    # The tolerance keeps 0.29 * 100 = 28.999... from losing a scalar to binary rounding.
    return max(1, min(total, int(fraction * total + 1e-9)))


def select_extreme(
    scores: Mapping[str, Tensor], count: int, *, budget: Budget = "global", largest: bool = True
) -> Selection:
    """Select the ``count`` largest (or smallest) scores.

    Args:
        scores: Parameter name to a real tensor of the parameter's shape; ranked by signed value.
        count: How many scalars to select; capped at the number there are.
        budget: ``global`` ranks all scalars together; ``per_tensor`` gives each tensor a quota in
            proportion to its size (largest remainders first), the quotas adding up to ``count``;
            ``per_layer`` does so for the tensors of each module together.
        largest: Take the largest scores, otherwise the smallest.

    Returns:
        A selection of exactly ``min(count, scalars)`` scalars.

    Raises:
        NonFinite: A score is not a number or infinite.
    """
    for name, score in scores.items():
        if not bool(torch.isfinite(score).all()):
            raise NonFinite(name)
    groups = ranked_together(tuple(scores), budget)
    sizes = [sum(scores[name].numel() for name in group) for group in groups]
    quotas = proportional_quotas(sizes, max(0, min(count, sum(sizes))))
    masks: dict[str, Tensor] = {}
    for group, quota in zip(groups, quotas, strict=True):
        flat = torch.cat([scores[name].reshape(-1) for name in group])
        parts = _extreme(flat, quota, largest).split([scores[name].numel() for name in group])
        for name, part in zip(group, parts, strict=True):
            masks[name] = part.view(scores[name].shape).clone()
    return Selection({name: masks[name] for name in scores})


def ranked_together(names: tuple[str, ...], budget: Budget) -> list[list[str]]:
    """Group the names of parameters that share a quota, in order."""
    groups: dict[str, list[str]] = {}
    for name in names:
        module, _, _ = name.rpartition(".")
        key = {"global": "", "per_layer": module, "per_tensor": name}[budget]
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def proportional_quotas(sizes: list[int], count: int) -> list[int]:
    """Split ``count`` over tensors in proportion to their sizes (largest remainder method).

    >>> proportional_quotas([10, 30, 60], 7)
    [1, 2, 4]
    """
    total = sum(sizes)
    if total == 0:
        return [0] * len(sizes)
    quotas = [count * size // total for size in sizes]
    remainders = [count * size % total for size in sizes]
    by_need = sorted(range(len(sizes)), key=lambda i: (-remainders[i], i))
    for i in by_need[: count - sum(quotas)]:
        quotas[i] += 1
    return quotas


def _extreme(flat: Tensor, count: int, largest: bool) -> Tensor:
    """Mask of the ``count`` most extreme entries, earlier positions first among equals."""
    if count == 0:
        return torch.zeros_like(flat, dtype=torch.bool)
    threshold = flat.topk(count, largest=largest, sorted=True).values[-1]
    mask = flat > threshold if largest else flat < threshold
    ties = (flat == threshold).nonzero().squeeze(1)
    mask[ties[: count - int(mask.sum())]] = True
    return mask
