"""Whether a deletion can be distilled, and whether that is worth it."""

from app.unlearning.distillation.answers import require_classes
from app.unlearning.distillation.calibration import ENOUGH_HELD_OUT
from app.unlearning.distillation.head_split import split_head
from app.unlearning.distillation.material import FEWEST_RETAINED
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.reference_distillation import ReferenceDistillation
from app.unlearning.problem import Problem

DEAR = 0.5
"""Share of a retraining's multiply-adds above which a distillation costs more than it saves."""


def is_distillable(problem: Problem) -> bool:
    """Whether a reference can be fitted, calibrated and judged."""
    held_out = 0 if problem.holdout is None else len(problem.holdout)
    if held_out < ENOUGH_HELD_OUT or len(problem.retained) < FEWEST_RETAINED:
        return False
    try:
        require_classes(problem.objective)
        split_head(problem.model)
    except NotApplicable:
        return False
    return True


def is_dear(problem: Problem) -> bool:
    """Whether a deletion that can be distilled would cost more than it saves.

    Counted, not timed: a network that is all head, trained for few epochs on few rows, retrains
    about as fast as a reference is fitted and followed.
    """
    if not len(problem.forget):
        return False
    share = ReferenceDistillation().expected_share(problem)
    return share is not None and share > DEAR
