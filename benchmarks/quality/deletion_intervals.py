"""How sure the deletion study is of the share of a gap that a method closes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from app.unlearning.verification.evaluation import Evaluated
from benchmarks.quality.resampling import Interval, draws, interval, weighted

# Where the gap of a draw all but vanishes its share says no more than that.
_MOST = 99.0


def closed(
    before: Sequence[Evaluated], after: Sequence[Evaluated], retrained: Sequence[Evaluated]
) -> tuple[Interval, Interval]:
    """Shares of the gaps in forget accuracy and mean forget loss, with 95 % intervals.

    The share of a run is ``(before - after) / (before - mean of the retrained)``; the estimate is
    the mean over the runs. The intervals are those of a bootstrap over forgotten rows, originals
    (with what became of them) and retrained networks.

    Args:
        before: Originals on the forgotten rows.
        after: What became of each original, in their order.
        retrained: Retrained networks on the forgotten rows.

    Returns:
        For accuracy and for loss; infinite, or not a number, where there is no gap.
    """
    draw = torch.Generator().manual_seed(0)
    counts = draws(len(retrained[0]), draw)
    runs, others = draws(len(before), draw), draws(len(retrained), draw)

    def found(which: str) -> Interval:
        old, new, again = (_rates(counts, seen, which) for seen in (before, after, retrained))
        goal = weighted(again, others)[:, None]
        # A run that was not drawn has no part in the mean, whatever its share.
        shares = weighted(torch.where(runs > 0, (old - new) / (old - goal), 0.0), runs)
        return interval(torch.cat([shares[:1], shares[1:].clamp(-_MOST, _MOST)]))

    return found("correct"), found("losses")


def _rates(counts: Tensor, seen: Sequence[Evaluated], which: str) -> Tensor:
    """Means of each network over resampled rows, (draws, networks)."""
    rows = torch.stack([getattr(one, which).double() for one in seen], 1)
    return counts @ rows / counts.sum(1, keepdim=True)
