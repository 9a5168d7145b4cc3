"""The numbers a report shows of a deletion by a reference."""

from app.unlearning.distillation.calibration import Calibration
from app.unlearning.distillation.class_mix import ClassMix
from app.unlearning.distillation.masked_teaching import Taught
from app.unlearning.distillation.material import Material


def account(
    material: Material, mix: ClassMix, goal: Calibration, taught: Taught
) -> dict[str, float]:
    """The judgement with its parts, the targets, and how they came about; numbers only.

    Args:
        material: The rows.
        mix: The classes hit.
        goal: The targets.
        taught: The result.

    Returns:
        Numbers by name.
    """
    old, wanted, parts = goal.old, goal.wanted, taught.judgement
    return {
        "judgement": parts.value,
        "judgement_forget_loss": parts.forget_loss,
        "judgement_forget_accuracy": parts.forget_accuracy,
        "judgement_membership_auc": parts.membership_auc,
        "judgement_holdout_accuracy": parts.holdout_accuracy,
        "doubt_membership_auc": parts.doubt_membership_auc,
        "doubt_holdout_accuracy": parts.doubt_holdout_accuracy,
        "forget_loss_before": old.forget_loss,
        "forget_accuracy_before": old.forget_accuracy,
        "membership_auc_before": old.membership_auc,
        "holdout_accuracy_before": old.holdout_accuracy,
        "forget_loss_wanted": wanted.forget_loss,
        "forget_accuracy_wanted": wanted.forget_accuracy,
        "membership_auc_wanted": wanted.membership_auc,
        "holdout_accuracy_wanted": wanted.holdout_accuracy,
        "temperature": goal.temperature,
        "lift": goal.lift,
        "beyond": goal.beyond,
        "guard_standard_errors": goal.errors,
        "classes_hit": int(mix.hard.sum()),
        "held_out_rows": len(material.holdout),
        "held_out_rows_of_the_mix": mix.effective_rows,
        "retained_rows": len(material.retained),
        "snapshot": taught.step,
        "stretch": taught.stretch,
        "shift": taught.shift,
    }
