"""What a masked head is taught: rows to answer as before, and rows to answer otherwise."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.distillation.around import points_around, points_within
from app.unlearning.distillation.calibration import Calibration
from app.unlearning.distillation.judgement import Figures
from app.unlearning.distillation.material import Material, answers_of
from app.unlearning.objective import Objective

# Retained rows among which teaching draws.
_ANCHORS = 3000


@dataclass(frozen=True)
class Lesson:
    """Features and the answers wanted for them.

    Attributes:
        features: (n, ...) inputs of the head; n may be 0.
        answers: (n, C) log-probabilities.
        labels: (n,) classes whose log-probability shall be met as such; None where it is enough
            that the answers agree.
    """

    features: Tensor
    answers: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)


@dataclass(frozen=True)
class Lessons:
    """All that is taught.

    Attributes:
        retained: Retained rows, answered as the network did.
        around: Points between rows of classes that lost few, answered as the network did; by the
            reference where other classes lost many.
        within: Points between rows of classes that lost many, answered by the reference.
        forget: Deleted rows with their targets; at least one.
        origin: (m, C) log-probabilities of the network as it was for the deleted rows.
        is_hard: (C,) classes that lost many rows.
        shift: Added to their logits within them, to begin with.
        wanted: Figures to arrive at.
    """

    retained: Lesson
    around: Lesson
    within: Lesson
    forget: Lesson
    origin: Tensor
    is_hard: Tensor
    shift: float
    wanted: Figures


def prepare_lessons(
    material: Material,
    reference: nn.Module,
    goal: Calibration,
    is_hard: Tensor,
    objective: Objective,
    generator: torch.Generator,
) -> Lessons:
    """Put together what a head is taught.

    Where classes lost many rows a retrained network would answer unseen rows otherwise, too, in
    these classes and in those they are mistaken for, so points between rows are then answered by
    the reference.

    Args:
        material: The rows as the head sees them.
        reference: The head that never saw the deleted rows.
        goal: The targets.
        is_hard: (C,) classes that lost many rows.
        objective: How outputs are read.
        generator: A generator on the CPU.

    Returns:
        The lessons; without points around rows where the head reads indices.
    """
    retained, gone = material.retained, material.forget
    order = torch.randperm(len(retained), generator=generator)[:_ANCHORS]
    order = order.to(retained.features.device)
    around = within = Lesson(retained.features[:0], retained.answers[:0])
    if retained.features.is_floating_point():
        is_hit = is_hard.to(retained.labels.device)[retained.labels]
        hit, others = is_hit.nonzero()[:, 0], (~is_hit).nonzero()[:, 0]
        points = points_around(retained.features, others, generator)
        within_points, labels = points_within(retained.features, retained.labels, hit, generator)

        def referred(features: Tensor) -> Tensor:
            return (answers_of(reference, objective, features) / goal.temperature).log_softmax(1)

        if len(within_points):
            around = Lesson(points, referred(points))
            within = Lesson(within_points, referred(within_points), labels)
        else:
            around = Lesson(points, answers_of(material.split.head, objective, points))
    return Lessons(
        retained=Lesson(retained.features[order], retained.answers[order]),
        around=around,
        within=within,
        forget=Lesson(gone.features, goal.answers, gone.labels),
        origin=gone.answers,
        is_hard=is_hard,
        shift=goal.shift,
        wanted=goal.wanted,
    )
