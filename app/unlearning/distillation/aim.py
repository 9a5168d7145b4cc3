"""Targets that follow what has been reached: few scalars get only part of the way.

Two numbers are set by measurements on the way. The deleted rows' targets are stretched until their
mean loss has arrived. Where classes lost many rows, what the frozen features remember of the
deleted ones cannot be taken from these without adding to what the class lost; it is given to
unseen rows of the class instead, whose answers rise until membership is no longer told.
"""

from dataclasses import dataclass, field

from app.unlearning.distillation.judgement import Figures
from app.unlearning.distillation.lessons import Lesson, Lessons
from app.unlearning.distillation.targets import LARGEST_SHIFT, raised, stretched

# Logarithms of targets are kept above this, so that stretching does not chase nothing.
LEAST_LOG = -13.8
_RELAXATION, _LEAST_LOSS = 0.4, 0.3
_STRETCHES = (-0.5, 1.0)
# Logits for each unit of the membership AUC: losses spread over a nat or two, so that a hundredth
# of area is about a twentieth of a nat, of which this is the usual part.
_SHIFT_RATE = 4.0


@dataclass
class Aim:
    """What a head is taught at present.

    Attributes:
        lessons: As prepared.
        stretch: How far targets go beyond the deleted rows' answers, see :func:`stretched`.
        shift: Added to the logits of classes that lost many rows, at points within them.
        forget: Deleted rows with their present targets.
        within: Points within classes that lost many rows, with their present targets.
    """

    lessons: Lessons
    stretch: float = field(init=False, default=0.0)
    shift: float = field(init=False)
    forget: Lesson = field(init=False)
    within: Lesson = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the lessons as they are."""
        self.shift = self.lessons.shift
        self._set()

    def follow(self, reached: Figures) -> None:
        """Take a measurement into account."""
        wanted = self.lessons.wanted
        missing = (wanted.forget_loss - reached.forget_loss) / max(wanted.forget_loss, _LEAST_LOSS)
        low, high = _STRETCHES
        self.stretch = min(high, max(low, self.stretch + _RELAXATION * missing))
        excess = reached.membership_auc - wanted.membership_auc
        self.shift = min(LARGEST_SHIFT, max(0.0, self.shift + _SHIFT_RATE * excess))
        self._set()

    def _set(self) -> None:
        given = self.lessons
        logs = given.forget.answers.clamp(min=LEAST_LOG)
        answers = stretched(logs, given.origin, self.stretch) if self.stretch else logs
        self.forget = Lesson(given.forget.features, answers, given.forget.labels)
        self.within = given.within
        if len(given.within):
            risen = raised(given.within.answers, given.is_hard, self.shift)
            self.within = Lesson(given.within.features, risen, given.within.labels)
