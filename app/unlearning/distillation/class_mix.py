"""How a deletion changes the mix of classes, and held-out rows weighted to the deleted mix."""

from dataclasses import dataclass

import torch
from torch import Tensor

# A class that loses no more than this share of its rows is as before, whatever the rest loses.
_LOST_SHARE = 0.05
# Random rows leave the classes unevenly; twice the overall share is no accident.
_TIMES_OVERALL = 2.0


@dataclass(frozen=True)
class ClassMix:
    """Classes hit by a deletion.

    Attributes:
        hard: (C,) whether a class loses a markedly larger share of its rows than the others.
        weights: (n,) float64 weights of held-out rows: those of a class weigh together as much as
            its deleted rows. Zero for classes of which nothing is deleted.
    """

    hard: Tensor
    weights: Tensor

    @property
    def biased(self) -> bool:
        """Whether the retained rows have another mix of classes than the training rows."""
        return bool(self.hard.any())

    @property
    def effective_rows(self) -> float:
        """Held-out rows that the weighted ones are worth (Kish 1965); 0 if all weigh nothing."""
        squares = float(self.weights.square().sum())
        return float(self.weights.sum()) ** 2 / squares if squares else 0.0


def class_mix(
    forget: Tensor, retained: Tensor, holdout: Tensor, classes: int, *, retained_weight: float
) -> ClassMix:
    """Compare the classes of deleted, retained and held-out rows.

    Args:
        forget: (m,) classes of the deleted rows.
        retained: (r,) classes of the retained rows at hand.
        holdout: (n,) classes of the held-out rows.
        classes: Their number C.
        retained_weight: Rows that each retained row at hand stands for.

    Returns:
        The mix.
    """
    gone, kept, seen = (
        torch.bincount(labels.cpu(), minlength=classes).double()
        for labels in (forget, retained, holdout)
    )
    kept = kept * retained_weight
    lost = gone / (gone + kept).clamp(min=1e-12)
    overall = float(gone.sum() / (gone + kept).sum().clamp(min=1e-12))
    hard = lost > max(_LOST_SHARE, _TIMES_OVERALL * overall)
    weights = (gone / seen.clamp(min=1))[holdout.cpu()]
    return ClassMix(hard, weights)
