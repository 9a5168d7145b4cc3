"""Points between rows, where the network was never trained: the nearest there is to unseen rows."""

import torch
from torch import Tensor

POINTS = 3000
"""Points among rows of classes that lost many rows, and as many around the others. With 600 a
hard class was known worse at unseen rows than the reference knew it."""
_NEAR = 0.6


def points_around(features: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """Mix features: ``0.6 z_i + 0.4 z_j`` for some rows ``i`` and any rows ``j``.

    Args:
        features: (n, ...) floating point, of retained rows.
        rows: (k,) positions from which ``i`` is drawn.
        generator: A generator on the CPU.

    Returns:
        At most ``POINTS`` points.
    """
    rows = rows[torch.randperm(len(rows), generator=generator)[:POINTS]]
    others = torch.randint(max(1, len(features)), (len(rows),), generator=generator)
    return _NEAR * features[rows] + (1 - _NEAR) * features[others]


def points_within(
    features: Tensor, labels: Tensor, rows: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix features of two rows of a class, in any proportion: rows that might have been.

    Args:
        features: (n, ...) floating point, of retained rows.
        labels: (n,) their classes.
        rows: (k,) positions of the rows that may be mixed.
        generator: A generator on the CPU.

    Returns:
        ``POINTS`` points, none if there are no rows, and their classes.
    """
    if not len(rows):
        return features[:0], labels[:0]
    first = rows[torch.randint(len(rows), (POINTS,), generator=generator)]
    second = first.clone()
    for own in labels[rows].unique():
        members, wanted = rows[labels[rows] == own], labels[first] == own
        drawn = torch.randint(len(members), (int(wanted.sum()),), generator=generator)
        second[wanted] = members[drawn]
    share = torch.rand(POINTS, generator=generator).to(features)
    share = share.view(-1, *[1] * (features.dim() - 1))
    return share * features[first] + (1 - share) * features[second], labels[first]
