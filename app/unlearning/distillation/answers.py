"""What a network answers: log-probabilities of the classes, for every objective with classes."""

import torch
from torch import Tensor
from torch.nn import functional

from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.verification.evaluation import Evaluated


def require_classes(objective: Objective) -> None:
    """Refuse objectives without classes.

    Raises:
        NotApplicable: Answers are numbers, so there is nothing to distil.
    """
    if objective.name == "mean_squared_error":
        raise NotApplicable("answers of a regression are no probabilities of classes")


def log_probabilities(objective: Objective, outputs: Tensor) -> Tensor:
    """Log-probabilities of the classes.

    Args:
        objective: Says how outputs are read; a logistic loss has the classes 0 and 1.
        outputs: (b, C), or (b,) or (b, 1) of a logistic loss.

    Returns:
        (b, C), differentiable; C = 2 for a logistic loss.
    """
    if objective.name == "cross_entropy":
        return outputs.log_softmax(1)
    z = outputs.reshape(len(outputs))
    return torch.stack([functional.logsigmoid(-z), functional.logsigmoid(z)], 1)


def output_gradient(objective: Objective, outputs: Tensor, wanted: Tensor) -> Tensor:
    """Gradient of ``KL(wanted || answer)`` with respect to the outputs, row by row.

    Args:
        objective: As in :func:`log_probabilities`.
        outputs: As in :func:`log_probabilities`.
        wanted: (b, C) probabilities.

    Returns:
        A tensor of the shape of ``outputs``.
    """
    if objective.name == "cross_entropy":
        return outputs.softmax(1) - wanted
    return (torch.sigmoid(outputs.reshape(-1)) - wanted[:, 1]).view_as(outputs)


def class_labels(targets: Tensor) -> Tensor:
    """Targets as classes, (b,) int64."""
    return targets.reshape(len(targets)).round().long()


def true_losses(answers: Tensor, labels: Tensor) -> Tensor:
    """Minus the log-probability of each row's own class, (b,)."""
    return -answers.gather(1, labels[:, None])[:, 0]


def evaluated(answers: Tensor, labels: Tensor) -> Evaluated:
    """Answers as a membership test reads them, in float64."""
    answers = answers.detach().double().cpu()
    labels = labels.cpu()
    return Evaluated(true_losses(answers, labels), answers.argmax(1) == labels, labels)
