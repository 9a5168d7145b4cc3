"""How well losses tell forgotten rows from rows never trained on.

The attack of Yeom et al. (2018) at all thresholds at once: the area under the ROC curve of minus
the loss, forgotten rows against held-out rows. It is the probability that a forgotten row has a
smaller loss than a held-out one, ties counting one half. 0.5: no signal; above: the forgotten rows
still look trained on; below: they look worse than unseen rows, which is a trace too. Not folded.

Rows of some classes have larger losses whether or not they were trained on, so held-out rows are
weighted until their labels are mixed as those of the forgotten rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.errors import NotApplicable
from app.unlearning.verification.bootstrap import (
    CHUNK_ELEMENTS,
    draw_counts,
    stretched_interval,
)
from app.unlearning.verification.evaluation import Evaluated
from app.unlearning.verification.intervals import Interval, clopper_pearson

RESAMPLES = 500


@dataclass(frozen=True)
class Matching:
    """Forgotten and held-out rows that can be compared, and how they are weighted.

    Attributes:
        forgotten: (m,) positions of the forgotten rows whose class occurs among the held-out.
        heldout: (n,) positions of the held-out rows whose class occurs among the forgotten.
        forgotten_classes: (m,) classes of the former, numbered from 0.
        heldout_classes: (n,) classes of the latter, in the same numbers.
    """

    forgotten: Tensor
    heldout: Tensor
    forgotten_classes: Tensor
    heldout_classes: Tensor

    @property
    def rows(self) -> int:
        """The number of rows on the smaller side."""
        return min(len(self.forgotten), len(self.heldout))

    def balance(self, forgotten: Tensor, heldout: Tensor) -> tuple[Tensor, Tensor]:
        """Give both sides the same label mix, that of the forgotten rows.

        Args:
            forgotten: (B, m) how often each forgotten row counts.
            heldout: (B, n) how often each held-out row counts.

        Returns:
            Weights of the same shapes. The held-out rows of a class weigh together as much as
            its forgotten rows; a class without held-out rows has weight 0 on both sides.
        """
        classes = int(self.forgotten_classes.max()) + 1
        wanted = _sums(forgotten, self.forgotten_classes, classes)
        present = _sums(heldout, self.heldout_classes, classes)
        each = wanted / present.clamp(min=1)
        kept = forgotten * (present > 0)[:, self.forgotten_classes]
        return kept, heldout * each[:, self.heldout_classes]


def match(forgotten: Evaluated, heldout: Evaluated) -> Matching:
    """Find the rows that can be compared.

    Args:
        forgotten: The forgotten rows as they were trained on.
        heldout: Rows never trained on.

    Returns:
        The rows of the classes that occur on both sides; without classes, all rows.

    Raises:
        NotApplicable: No class occurs on both sides.
    """
    if forgotten.labels is None or heldout.labels is None:
        return Matching(
            torch.arange(len(forgotten)),
            torch.arange(len(heldout)),
            torch.zeros(len(forgotten), dtype=torch.int64),
            torch.zeros(len(heldout), dtype=torch.int64),
        )
    shared = forgotten.labels.unique()
    shared = shared[torch.isin(shared, heldout.labels)]
    if not len(shared):
        raise NotApplicable("no held-out row has a label of the forgotten rows")
    left = torch.isin(forgotten.labels, shared).nonzero()[:, 0]
    right = torch.isin(heldout.labels, shared).nonzero()[:, 0]
    return Matching(
        left,
        right,
        torch.searchsorted(shared, forgotten.labels[left]),
        torch.searchsorted(shared, heldout.labels[right]),
    )


def membership_auc(forgotten: Evaluated, heldout: Evaluated, matching: Matching) -> float:
    """Return the area under the curve for one network.

    Args:
        forgotten: The network on the forgotten rows.
        heldout: The network on the held-out rows.
        matching: From ``match`` on the same rows.

    Returns:
        A number in [0, 1].
    """
    once = forgotten.losses.new_ones(1, len(matching.forgotten))
    weights = matching.balance(once, heldout.losses.new_ones(1, len(matching.heldout)))
    return float(_Ordered(forgotten, heldout, matching).areas(*weights))


def resampled_aucs(
    pairs: list[tuple[Evaluated, Evaluated]],
    matching: Matching,
    seed: int,
    resamples: int = RESAMPLES,
) -> Tensor:
    """Return the areas under the curve of several networks on the same resamples of the rows.

    Forgotten and held-out rows are resampled separately; the weights are then matched anew.

    Args:
        pairs: For each network, itself on the forgotten and on the held-out rows.
        matching: From ``match`` on the same rows.
        seed: Seed of the draws.
        resamples: Number of resamples B.

    Returns:
        (B, networks); resamples that lost every held-out row of their classes are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    ordered = [_Ordered(*pair, matching) for pair in pairs]
    m, n = len(matching.forgotten), len(matching.heldout)
    step = max(1, CHUNK_ELEMENTS // (m + n))
    areas = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        left, right = matching.balance(
            draw_counts(count, m, generator), draw_counts(count, n, generator)
        )
        usable = right.sum(1) > 0
        drawn = (left[usable], right[usable])
        areas.append(torch.stack([one.areas(*drawn) for one in ordered], 1))
    return torch.cat(areas)


def area_interval(area: float, resampled: Tensor, rows: int) -> Interval:
    """Return the 95 % interval of an area under the curve.

    Where every resample has the same area, as after a perfect separation, resampling tells nothing:
    the interval is then that of so many rows won out of ``rows``.

    Args:
        area: Of the rows themselves.
        resampled: (B,), of their resamples.
        rows: Rows on the smaller side.

    Returns:
        The interval, inside [0, 1].
    """
    if rows > 1 and bool((resampled == area).all()):
        return clopper_pearson(round(area * rows), rows)
    low, high = stretched_interval(area, resampled, rows)
    return Interval(max(0.0, low), min(1.0, high))


def area_difference_interval(difference: float, resampled: Tensor, rows: int) -> Interval:
    """Return the 95 % interval of the difference of two areas on the same rows.

    Args:
        difference: Of the rows themselves.
        resampled: (B,), of their resamples.
        rows: Rows on the smaller side.

    Returns:
        The interval, inside [-1, 1].
    """
    low, high = stretched_interval(difference, resampled, rows)
    return Interval(max(-1.0, low), min(1.0, high))


class _Ordered:
    """The losses of one network, sorted once, so that any weights cost a cumulative sum."""

    def __init__(self, forgotten: Evaluated, heldout: Evaluated, matching: Matching) -> None:
        member = forgotten.losses[matching.forgotten]
        stranger, self.order = heldout.losses[matching.heldout].sort()
        self.first_tied = torch.searchsorted(stranger, member)
        self.first_larger = torch.searchsorted(stranger, member, right=True)

    def areas(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the weighted area for each row of weights.

        Args:
            left: (B, m) weights of the forgotten rows.
            right: (B, n) weights of the held-out rows; the sum of each row is positive.

        Returns:
            (B,).
        """
        below = torch.nn.functional.pad(right[:, self.order].cumsum(1), (1, 0))
        total = below[:, -1]
        # Held-out rows with a larger loss count one, tied ones one half.
        won = total[:, None] - (below[:, self.first_tied] + below[:, self.first_larger]) / 2
        return ((left * won).sum(1) / (left.sum(1) * total)).clamp(0, 1)


def _sums(counts: Tensor, classes: Tensor, number: int) -> Tensor:
    """Add up counts (B, n) by class; returns (B, number)."""
    return counts.new_zeros(len(counts), number).index_add_(1, classes, counts)
