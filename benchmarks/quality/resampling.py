"""Intervals by a bootstrap: rows, originals and retrained networks drawn with replacement."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Interval:
    """A share of the gap that is closed, with its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        """Lay it out for a table."""
        return f"{self.share:.2f} [{self.low:.2f}, {self.high:.2f}]"


def draws(size: int, generator: torch.Generator) -> Tensor:
    """How often each of ``size`` things is drawn, (1 + RESAMPLES, size); first once each."""
    drawn = torch.randint(size, (RESAMPLES, size), generator=generator)
    counts = torch.zeros(RESAMPLES, size, dtype=torch.float64)
    counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
    return torch.cat([torch.ones(1, size, dtype=torch.float64), counts])


def weighted(rates: Tensor, counts: Tensor) -> Tensor:
    """Means over what was drawn, (draws,), of (draws, size) each."""
    return (rates * counts).sum(1) / counts.sum(1)


def interval(shares: Tensor) -> Interval:
    """The first draw is the estimate, the others its spread; draws without a gap are left out."""
    low, high = shares[1:].nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Interval(float(shares[0]), float(low), float(high))
