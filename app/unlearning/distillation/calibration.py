"""From a reference's answers to targets, with all that was decided on the way."""

from dataclasses import dataclass

from torch import Tensor

from app.unlearning.distillation.answers import evaluated
from app.unlearning.distillation.class_mix import ClassMix
from app.unlearning.distillation.judgement import Figures, figures_of
from app.unlearning.distillation.material import Material
from app.unlearning.distillation.targets import (
    Guard,
    lift_until,
    lowered,
    raised,
    shift_until,
    stretched,
    temperature_beside,
)
from app.unlearning.verification.evaluation import Evaluated

ENOUGH_HELD_OUT = 100
"""Held-out rows below which the level is not calibrated and the guard is wider."""
# Frozen features keep about this share of what the network remembers of random rows. Where all
# layers are taught none are frozen.
_BEYOND = 0.15
_ERRORS, _ERRORS_BIASED = 2.0, 1.0
_FEW_ERRORS = 2.0


@dataclass(frozen=True)
class Calibration:
    """Targets and how they came about.

    Attributes:
        answers: (m, C) log-probabilities, the targets of the deleted rows.
        temperature: Divisor of the reference's logits.
        lift: Taken from the true-class logits of the targets.
        shift: Added to the logits of hard classes for unseen rows, so that membership is told no
            better than asked.
        beyond: How far the targets go beyond the reference, away from the network.
        errors: Standard errors that the guard allows.
        old: Figures of the network as it was.
        wanted: Figures of the targets, and the held-out accuracy asked for.
        holdout: The calibrated reference on held-out rows.
    """

    answers: Tensor
    temperature: float
    lift: float
    shift: float
    beyond: float
    errors: float
    old: Figures
    wanted: Figures
    holdout: Evaluated


def calibrate(material: Material, forget: Tensor, holdout: Tensor, mix: ClassMix) -> Calibration:
    """Make targets of the reference's answers.

    Args:
        material: The rows and what the network says of them.
        forget: (m, C) log-probabilities of the reference for the deleted rows.
        holdout: (n, C) the same for the held-out rows.
        mix: Classes hit by the deletion.

    Returns:
        The targets.

    Raises:
        NotApplicable: No held-out row has a class of the deleted rows.
    """
    gone, seen = material.forget, material.holdout
    old = figures_of(gone.answers, gone.labels, seen.answers, seen.labels)
    few = len(seen) < ENOUGH_HELD_OUT
    temperature = 1.0
    if not few:
        temperature = temperature_beside(holdout, seen.answers, seen.labels, mix.hard)
    forget, holdout = ((x / temperature).log_softmax(1) for x in (forget, holdout))
    kept = _BEYOND if next(material.split.body.parameters(), None) is not None else 0.0
    # A share of the reference's own logits; sharpening magnifies what it takes off, too.
    beyond = 0.0 if mix.biased else kept * min(1.0, temperature)
    answers = stretched(forget, gone.answers, beyond)
    errors = (_ERRORS_BIASED if mix.biased else _ERRORS) * (_FEW_ERRORS if few else 1.0)
    unseen = evaluated(holdout, seen.labels)
    guard = Guard(unseen, mix.weights, errors)
    lift = lift_until(lambda x: guard.holds(x, gone.labels), answers, gone.labels)
    answers = lowered(answers, gone.labels, lift)
    target = figures_of(answers, gone.labels, holdout, seen.labels)
    area, shift = target.membership_auc, 0.0
    if mix.biased:
        # Going beyond would add to what the class lost; what the features keep is still asked for,
        # of unseen rows.
        area -= kept * max(0.0, old.membership_auc - area)
        shift = shift_until(
            lambda d: (
                figures_of(
                    answers, gone.labels, raised(holdout, mix.hard, d), seen.labels
                ).membership_auc
                <= area
            )
        )
    # A reference may generalise better than the network did, or worse; neither is asked for.
    wanted = Figures(target.forget_loss, target.forget_accuracy, area, old.holdout_accuracy)
    return Calibration(answers, temperature, lift, shift, beyond, errors, old, wanted, unseen)
