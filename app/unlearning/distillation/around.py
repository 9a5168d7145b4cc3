"""Points between rows, where the network was never trained and must not drift."""

import torch
from torch import Tensor

POINTS = 600
"""Points around rows of classes that lost many rows, and as many around the others."""
_NEAR = 0.6


def points_around(
    features: Tensor, is_hard: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix features: ``0.6 z_i + 0.4 z_j`` for rows ``i`` of either group and any rows ``j``.

    Args:
        features: (n, ...) floating point, of retained rows.
        is_hard: (n,) whether the row's class lost many of its rows.
        generator: A generator on the CPU.

    Returns:
        At most ``POINTS`` points near hard rows, and as many near the others.
    """
    parts = []
    for group in (is_hard, ~is_hard):
        rows = group.cpu().nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)[:POINTS]]
        others = torch.randint(max(1, len(features)), (len(rows),), generator=generator)
        rows, others = rows.to(features.device), others.to(features.device)
        parts.append(_NEAR * features[rows] + (1 - _NEAR) * features[others])
    return parts[0], parts[1]
