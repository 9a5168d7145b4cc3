"""Losses and predictions of a network, one row at a time, over a set of rows.

Everything that is measured later is computed from these: seventeen bytes a row, so a network
runs over each set of rows once, in batches, and may then be dropped.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Rows

BATCH_SIZE = 256
"""Rows at a time. On a CPU 512 images of 28 x 28 took 1.4 times as long: past the caches."""


@dataclass(frozen=True)
class Evaluated:
    """What a network does on a set of rows, on the CPU.

    Attributes:
        losses: (n,) float64, the loss of each row, without weight decay.
        correct: (n,) bool, whether the prediction is the target; None where the objective has
            no classes.
        labels: (n,) int64, the targets; None where the objective has no classes.
    """

    losses: Tensor
    correct: Tensor | None = None
    labels: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """Mean loss; every row counts once."""
        return float(self.losses.mean())

    @property
    def right(self) -> int | None:
        """Number of rows predicted right, or None where there are no classes."""
        return None if self.correct is None else int(self.correct.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of rows predicted right, or None where there are no classes."""
        return None if self.right is None else self.right / len(self)


def evaluate(
    model: nn.Module, objective: Objective, rows: Rows, batch_size: int = BATCH_SIZE
) -> Evaluated:
    """Run a network over rows, in eval mode and without gradients.

    Losses are computed from the outputs in float64: in float32 the loss of every confidently
    right row is the same 0, and a membership test could not tell them apart. Row weights are
    not used: a measurement counts each row once.

    Args:
        model: The network; its mode is put back.
        objective: Says what the loss is and whether there are classes.
        rows: At least one row.
        batch_size: Rows at a time.

    Returns:
        Losses, predictions and labels in the order of the rows.

    Raises:
        NonFinite: A loss is NaN or infinite.
        NotApplicable: There are no rows.
    """
    losses, correct, labels = [], [], []
    with torch.no_grad(), _evaluating(model):
        for batch in rows.batches(batch_size):
            outputs = outputs_of(model, batch.inputs).double()
            losses.append(objective.losses(outputs, batch.targets).cpu())
            predicted = _predictions(objective, outputs)
            if predicted is not None:
                target = batch.targets.reshape(predicted.shape).long()
                correct.append((predicted == target).cpu())
                labels.append(target.cpu())
    if not losses:
        raise NotApplicable("there are no rows to evaluate")
    joined = torch.cat(losses)
    if not bool(joined.isfinite().all()):
        raise NonFinite("loss")
    if not correct:
        return Evaluated(joined)
    return Evaluated(joined, torch.cat(correct), torch.cat(labels))


def baseline(model: nn.Module, objective: Objective, rows: Rows) -> dict[str, float]:
    """Return mean loss and, where there are classes, accuracy of a network on rows.

    Args:
        model: The network.
        objective: What it was trained on.
        rows: At least one row.

    Returns:
        ``{"loss": ...}`` and perhaps ``"accuracy"``.
    """
    evaluated = evaluate(model, objective, rows)
    figures = {"loss": evaluated.loss}
    if evaluated.accuracy is not None:
        figures["accuracy"] = evaluated.accuracy
    return figures


def _predictions(objective: Objective, outputs: Tensor) -> Tensor | None:
    """Return the predicted class of each row (b,), or None where there are no classes."""
    if objective.name == "cross_entropy":
        return outputs.argmax(1)
    if objective.name == "binary_cross_entropy":
        return (outputs.reshape(len(outputs)) > 0).long()
    return None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes.items():
            module.training = was_training
