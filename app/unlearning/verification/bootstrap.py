"""Bootstrap intervals of 95 % for means, on seeded draws.

Efron's percentile bootstrap. Quantities measured on the same rows are resampled together, so
that their differences keep what the rows have in common.
"""

import torch
from torch import Tensor

from app.unlearning.verification.intervals import CONFIDENCE, Interval

RESAMPLES = 1000
MAX_UNITS = 2048
"""More rows than this are first averaged in as many random groups: the spread of the mean stays
the same and the cost stays bounded."""
CHUNK_ELEMENTS = 2**20
"""Elements of one intermediate tensor; some five of them exist at a time, 40 MB in all."""


def resampled_means(values: Tensor, seed: int, resamples: int = RESAMPLES) -> Tensor:
    """Return the means of resamples of the rows.

    Args:
        values: (n, k) float64: k quantities of each of n rows, n >= 1.
        seed: Seed of the draws.
        resamples: Number of resamples B.

    Returns:
        (B, k); row i holds the k means over the same n rows drawn with replacement.
    """
    generator = torch.Generator().manual_seed(seed)
    units = _grouped(values, generator)
    count = len(units)
    step = max(1, CHUNK_ELEMENTS // count)
    means = []
    for start in range(0, resamples, step):
        drawn = draw_counts(min(step, resamples - start), count, generator)
        means.append(drawn @ units / count)
    return torch.cat(means)


def draw_counts(resamples: int, count: int, generator: torch.Generator) -> Tensor:
    """Return how often each of ``count`` rows is drawn in each resample.

    Args:
        resamples: Number of resamples B.
        count: Number of rows n, and of draws in each resample.
        generator: Source of the draws.

    Returns:
        (B, n) float64; each row sums to n.
    """
    drawn = torch.randint(count, (resamples, count), generator=generator)
    offsets = torch.arange(resamples)[:, None] * count
    flat = (drawn + offsets).reshape(-1)
    return torch.bincount(flat, minlength=resamples * count).double().reshape(resamples, count)


def percentile_interval(statistics: Tensor) -> Interval:
    """Return the middle 95 % of resampled statistics.

    Args:
        statistics: (B,).

    Returns:
        The interval between the 2.5 % and the 97.5 % quantile.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = statistics.quantile(torch.tensor([tail, 1 - tail], dtype=statistics.dtype)).tolist()
    return Interval(low, high)


def _grouped(values: Tensor, generator: torch.Generator) -> Tensor:
    size = -(-len(values) // MAX_UNITS)
    if size == 1:
        return values
    # Groups of equal size; the fewer than ``size`` rows over do not matter for the spread.
    count = len(values) // size
    order = torch.randperm(len(values), generator=generator)[: count * size]
    return values[order].reshape(count, size, -1).mean(1)
