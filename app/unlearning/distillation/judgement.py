"""The method's own judgement J: how far a result is from where the reference says it should be.

``J`` is the largest of four distances, each in units of what a result may miss by: mean loss and
accuracy of the deleted rows (0.3 of the way from the network to the target), membership AUC (0.03)
and held-out accuracy (0.01 below what is asked for). ``J <= 1`` reads: would pass, if the reference
is right. A tolerance is never finer than what one row can change. The last two are measured on
held-out rows, and are refused already where a standard error more would be too far.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from app.unlearning.distillation.answers import evaluated
from app.unlearning.verification.evaluation import Evaluated
from app.unlearning.verification.membership import match, membership_auc, resampled_aucs

_SHARE_OF_GAP = 0.3
_LEAST_LOSS_GAP = 0.05
_LEAST_ACCURACY_GAP = 0.03
_AREA = 0.03
_HOLDOUT_ACCURACY = 0.01
_RESAMPLES = 200


@dataclass(frozen=True)
class Figures:
    """What is compared: mean loss and accuracy of deleted rows, AUC, held-out accuracy."""

    forget_loss: float
    forget_accuracy: float
    membership_auc: float
    holdout_accuracy: float


@dataclass(frozen=True)
class Judgement:
    """The four distances, each at most 1 where the result would pass.

    Attributes:
        forget_loss: Of the mean loss of the deleted rows.
        forget_accuracy: Of their accuracy.
        membership_auc: Of the membership AUC.
        holdout_accuracy: Of held-out accuracy.
        doubt_membership_auc: What held-out rows leave open of the third, a standard error.
        doubt_holdout_accuracy: The same of the fourth.
    """

    forget_loss: float
    forget_accuracy: float
    membership_auc: float
    holdout_accuracy: float
    doubt_membership_auc: float = 0.0
    doubt_holdout_accuracy: float = 0.0

    @property
    def value(self) -> float:
        """J: the largest distance, doubts included."""
        return max(
            self.forget_loss,
            self.forget_accuracy,
            self.membership_auc + self.doubt_membership_auc,
            self.holdout_accuracy + self.doubt_holdout_accuracy,
        )


def figures_of(forget: Tensor, labels: Tensor, holdout: Tensor, holdout_labels: Tensor) -> Figures:
    """Measure answers.

    Args:
        forget: (m, C) log-probabilities for the deleted rows.
        labels: (m,) their classes.
        holdout: (n, C) log-probabilities for held-out rows.
        holdout_labels: (n,) their classes.

    Returns:
        The figures; deleted and held-out rows are matched by class for the AUC.

    Raises:
        NotApplicable: No held-out row has a class of the deleted rows.
    """
    left, right = evaluated(forget, labels), evaluated(holdout, holdout_labels)
    area = membership_auc(left, right, match(left, right))
    return Figures(left.loss, left.accuracy or 0.0, area, right.accuracy or 0.0)


def judge(
    new: Figures, old: Figures, wanted: Figures, *, forgotten: int, held_out: int
) -> Judgement:
    """Say how far a result is from its targets.

    Args:
        new: Of the result.
        old: Of the network as it was.
        wanted: The targets.
        forgotten: Deleted rows m.
        held_out: Held-out rows n.

    Returns:
        The distances.
    """
    one, other = 1 / max(1, forgotten), 1 / max(1, held_out)
    loss_gap = max(abs(old.forget_loss - wanted.forget_loss), _LEAST_LOSS_GAP)
    accuracy_gap = max(abs(old.forget_accuracy - wanted.forget_accuracy), _LEAST_ACCURACY_GAP)
    missing = max(0.0, wanted.holdout_accuracy - new.holdout_accuracy)
    return Judgement(
        abs(new.forget_loss - wanted.forget_loss) / (_SHARE_OF_GAP * loss_gap),
        abs(new.forget_accuracy - wanted.forget_accuracy) / max(_SHARE_OF_GAP * accuracy_gap, one),
        abs(new.membership_auc - wanted.membership_auc) / max(_AREA, one),
        missing / max(_HOLDOUT_ACCURACY, other),
    )


def doubted(
    judgement: Judgement,
    new: tuple[Evaluated, Evaluated],
    target: tuple[Evaluated, Evaluated],
    old: Evaluated,
    seed: int,
) -> Judgement:
    """Add what held-out rows leave open, since others would have given other figures.

    Both are standard errors of differences between two networks on the same rows: of AUCs by
    bootstrap over deleted and held-out rows, of accuracies by how often just one of the two
    networks is right.

    Args:
        judgement: A judgement.
        new: The result on deleted and on held-out rows.
        target: The same of the reference, with the targets of the deleted rows.
        old: The network as it was, on held-out rows.
        seed: Of the bootstrap.

    Returns:
        The judgement with its doubts.
    """
    areas = resampled_aucs([new, target], match(*new), seed, _RESAMPLES)
    area_error = float((areas[:, 0] - areas[:, 1]).std()) if len(areas) > 1 else 0.0
    accuracy_error = 0.0
    if new[1].correct is not None and old.correct is not None:
        differences = new[1].correct.double() - old.correct.double()
        accuracy_error = float(differences.std(correction=0)) / len(differences) ** 0.5
    one, other = 1 / max(1, len(new[0])), 1 / max(1, len(new[1]))
    return replace(
        judgement,
        doubt_membership_auc=area_error / max(_AREA, one),
        doubt_holdout_accuracy=accuracy_error / max(_HOLDOUT_ACCURACY, other),
    )
