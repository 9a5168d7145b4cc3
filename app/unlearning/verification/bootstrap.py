"""Bootstrap intervals of 95 % for means, on seeded draws.

Efron's percentile bootstrap. Quantities measured on the same rows are resampled together, so
that their differences keep what the rows have in common. Resamples of few rows vary too little: of
five rows the plain interval covers a mean four times in five, and of a single one it has no width.
Intervals are stretched by what Student's distribution asks for so many rows.
"""

import math

import torch
from torch import Tensor

from app.unlearning.verification.intervals import CONFIDENCE, Interval, student_quantile

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


def stretched_interval(value: float, statistics: Tensor, rows: int) -> Interval:
    """Return an interval that is as wide as so few rows make it.

    Each end of the percentile interval is moved away from the value by the factor
    ``sqrt(n / (n - 1)) t / z``: what resampling n rows misses of a variance, and what not knowing
    the variance costs. t is the quantile of Student's distribution with n - 1 degrees of freedom, z
    that of the normal one. 9.2 for two rows, 1.2 for ten, 1.02 for a hundred.

    Args:
        value: The statistic of the rows themselves.
        statistics: (B,), of their resamples.
        rows: Their number n, at least 1; of two sets the smaller.

    Returns:
        The interval; without ends if there is a single row.
    """
    if rows == 1:
        return Interval(-math.inf, math.inf)
    normal = math.sqrt(2) * float(torch.special.erfinv(torch.tensor(CONFIDENCE).double()))
    factor = math.sqrt(rows / (rows - 1)) * student_quantile(rows - 1) / normal
    low, high = percentile_interval(statistics)
    return Interval(value - factor * max(0.0, value - low), value + factor * max(0.0, high - value))


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
