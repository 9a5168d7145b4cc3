"""Teach selected scalars of a head: deleted rows answer like their targets, all else as before.

Adam on ``KL(as before || new)`` for retained rows and points around them plus twice
``KL(target || new)`` for deleted rows. That divergence hardly tells a true class of one in a
hundred from one in ten thousand, but mean losses and membership tests do: where the class is known
its log-probability is taught as well, by a Huber loss. Targets follow what has been reached, see
:class:`Aim`. Of the snapshots looked at on the way the one of least judgement J is kept.

A look is at the mean of the scalars over the steps since the last one, which is steadier than any
of the steps (Polyak and Juditsky 1992).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from app.unlearning.distillation.aim import LEAST_LOG, Aim
from app.unlearning.distillation.answers import log_probabilities
from app.unlearning.distillation.judgement import Figures, Judgement
from app.unlearning.distillation.lessons import Lesson, Lessons
from app.unlearning.distillation.masked_adam import MaskedAdam
from app.unlearning.errors import NonFinite
from app.unlearning.objective import Objective
from app.unlearning.selection import Selection

ROWS = 240
"""Rows of a mini-batch, with and without classes that lost many rows; their mean."""
_RETAINED_ROWS, _AROUND_ROWS, _WITHIN_ROWS, _FORGET_ROWS = 48, 48, 96, 96
# Points within classes that lost many rows stand for all their unseen rows, which follow the
# deleted ones too far where they weigh less.
_WITHIN_WEIGHT, _FORGET_WEIGHT = 4.0, 2.0
# Of the Huber loss of log-probabilities, beside the divergence.
_LOG_WEIGHT = 0.3
# Looks at what has been reached, and the first of them that may be kept.
_LOOKS, _FIRST_KEPT = 10, 3


@dataclass(frozen=True)
class Taught:
    """Where teaching went.

    Attributes:
        values: Full new tensors of the head's parameters with selected scalars.
        judgement: Of the snapshot kept.
        step: At which it was taken.
        stretch: How far targets were stretched at the end.
        shift: By how much hard classes' logits rose at points within them, at the end.
        gradient_evaluations: Row gradients of the head.
    """

    values: dict[str, Tensor]
    judgement: Judgement
    step: int
    stretch: float
    shift: float
    gradient_evaluations: int


def teach(
    head: nn.Module,
    selection: Selection,
    lessons: Lessons,
    objective: Objective,
    judge: Callable[[Mapping[str, Tensor]], tuple[Judgement, Figures]],
    *,
    steps: int,
    learning_rate: float,
    generator: torch.Generator,
    progress: Callable[[float], None],
) -> Taught:
    """Move the selected scalars.

    Args:
        head: The head as it was; not modified.
        selection: What may change, by the head's own names; not empty.
        lessons: What to teach.
        objective: How outputs are read.
        judge: From parameter values to their judgement and what it is about.
        steps: Steps of Adam, >= 1; the step size falls linearly over the second half.
        learning_rate: Step size of Adam.
        generator: A generator on the CPU.
        progress: Told the fraction done.

    Returns:
        The best snapshot.

    Raises:
        NonFinite: The descent diverged.
    """
    every = max(1, steps // _LOOKS)
    adam = MaskedAdam(head, selection, learning_rate)
    aim, evaluations = Aim(lessons), 0
    best: tuple[Judgement, dict[str, Tensor], int] | None = None
    for step in range(1, steps + 1):
        drawn = _draw(aim, generator)
        outputs = functional_call(head, adam.theta, (drawn.features,))
        loss = drawn.loss(log_probabilities(objective, outputs))
        adam.step(loss, min(1.0, 2 * (1 - step / (steps + 1))))
        evaluations += len(drawn.features)
        if step % every == 0 or step == steps:
            average = adam.average()
            judgement, reached = judge(average)
            if step >= min(_FIRST_KEPT * every, steps) and (
                best is None or judgement.value <= best[0].value
            ):
                best = judgement, average, step
            aim.follow(reached)
        progress(step / steps)
    if best is None or best[0].value != best[0].value:
        raise NonFinite("judgement")
    return Taught(best[1], best[0], best[2], aim.stretch, aim.shift, evaluations)


@dataclass(frozen=True)
class _Drawn:
    """A mini-batch.

    Attributes:
        features: (b, ...) inputs of the head.
        answers: (b, C) log-probabilities wanted.
        weights: (b,) of the rows' losses.
        labels: (b,) classes whose log-probability is met as such, -1 where none is.
    """

    features: Tensor
    answers: Tensor
    weights: Tensor
    labels: Tensor

    def loss(self, answers: Tensor) -> Tensor:
        """The weighted sum of the rows' losses, up to a constant."""
        losses = -(self.answers.exp() * answers).sum(1)
        own = self.labels.clamp(min=0)[:, None]
        wanted = self.answers.gather(1, own).clamp(min=LEAST_LOG)
        apart = functional.huber_loss(answers.gather(1, own), wanted, reduction="none")[:, 0]
        return ((losses + _LOG_WEIGHT * apart * (self.labels >= 0)) * self.weights).sum()


def _draw(aim: Aim, generator: torch.Generator) -> _Drawn:
    """Draw one mini-batch."""
    parts = (
        (aim.lessons.retained, _RETAINED_ROWS, 1.0),
        (aim.lessons.around, _AROUND_ROWS, 1.0),
        (aim.within, _WITHIN_ROWS, _WITHIN_WEIGHT),
        (aim.forget, _FORGET_ROWS, _FORGET_WEIGHT),
    )
    drawn = [(_some(lesson, count, generator), w) for lesson, count, w in parts if len(lesson)]
    return _Drawn(
        torch.cat([lesson.features for lesson, _ in drawn]),
        torch.cat([lesson.answers for lesson, _ in drawn]),
        torch.cat([
            lesson.answers.new_full((len(lesson),), w / len(lesson)) for lesson, w in drawn
        ]),
        torch.cat([
            torch.full((len(lesson),), -1, device=lesson.answers.device)
            if lesson.labels is None
            else lesson.labels
            for lesson, _ in drawn
        ]),
    )


def _some(lesson: Lesson, count: int, generator: torch.Generator) -> Lesson:
    """All rows of a lesson, or so many drawn with replacement where it has more."""
    if len(lesson) <= count:
        return lesson
    rows = torch.randint(len(lesson), (count,), generator=generator).to(lesson.features.device)
    labels = None if lesson.labels is None else lesson.labels[rows]
    return Lesson(lesson.features[rows], lesson.answers[rows], labels)
