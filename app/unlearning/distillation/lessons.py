"""What a masked head is taught: rows to answer as before, and rows to answer otherwise."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.distillation.around import points_around
from app.unlearning.distillation.calibration import Calibration
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
    """

    features: Tensor
    answers: Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.features)


@dataclass(frozen=True)
class Lessons:
    """All that is taught.

    Attributes:
        retained: Retained rows, answered as the network did.
        around: Points between rows, see :mod:`app.unlearning.distillation.around`.
        forget: Deleted rows with their targets; at least one.
        origin: (m, C) log-probabilities of the network as it was for the deleted rows.
        labels: (m,) classes of the deleted rows.
        loss: Mean loss wanted for the deleted rows.
    """

    retained: Lesson
    around: Lesson
    forget: Lesson
    origin: Tensor
    labels: Tensor
    loss: float


def prepare_lessons(
    material: Material,
    reference: nn.Module,
    goal: Calibration,
    is_hard: Tensor,
    objective: Objective,
    generator: torch.Generator,
) -> Lessons:
    """Put together what a head is taught.

    Points around rows of classes that lost many rows are answered by the reference, since a
    retrained network would answer them otherwise, too; all other points as the network did.

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
    around = Lesson(retained.features[:0], retained.answers[:0])
    if retained.features.is_floating_point():
        hard_rows = is_hard.to(retained.labels.device)[retained.labels]
        hit, others = points_around(retained.features, hard_rows, generator)
        calibrated = (answers_of(reference, objective, hit) / goal.temperature).log_softmax(1)
        unchanged = answers_of(material.split.head, objective, others)
        around = Lesson(torch.cat([hit, others]), torch.cat([calibrated, unchanged]))
    return Lessons(
        retained=Lesson(retained.features[order], retained.answers[order]),
        around=around,
        forget=Lesson(gone.features, goal.answers),
        origin=gone.answers,
        labels=gone.labels,
        loss=goal.wanted.forget_loss,
    )
