"""Training objectives: per-row losses and their curvature with respect to the outputs.

The objective of every model here is

    mean over rows of loss(outputs, targets) + weight_decay / 2 * sum of squares of parameters,

all parameters, biases and norm weights included. The loss of one row is

* ``cross_entropy``: softmax cross-entropy, outputs (b, C), targets (b,) int64;
* ``binary_cross_entropy``: logistic loss, outputs (b,) or (b, 1), targets (b,) or (b, 1) in [0, 1];
* ``mean_squared_error``: mean over the k output columns of (output - target)^2, outputs (b, k) or
  (b,). The mean, not the sum: its Hessian is (2 / k) I.

The Hessian ``Q`` of each loss with respect to the outputs does not depend on the targets and is
positive semidefinite, so it has roots ``Q = sum_c r_c r_c^T``. Back-propagating the columns
``r_c`` gives the generalised Gauss-Newton matrix (Schraudolph 2002); back-propagating one sum of
the columns with random signs gives an unbiased estimate of it in a single pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from app.unlearning.errors import BadParameters

LossName = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]


@dataclass(frozen=True)
class Objective:
    """What a model was trained to minimise.

    Attributes:
        name: The loss of one row, see the module.
        weight_decay: Factor of half the squared norm of all parameters, >= 0.
    """

    name: LossName
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the name and the weight decay.

        Raises:
            BadParameters: The loss is unknown, or the weight decay negative or not finite.
        """
        if self.name not in get_args(LossName):
            raise BadParameters("/name", f"unknown loss; known: {', '.join(get_args(LossName))}")
        if not 0.0 <= self.weight_decay < float("inf"):
            raise BadParameters("/weight_decay", "must be a finite number of at least 0")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, without weight decay.

        Args:
            outputs: (b, C), (b, k) or (b,), see the module.
            targets: (b,) or (b, k).

        Returns:
            (b,), differentiable in ``outputs``.
        """
        if self.name == "cross_entropy":
            return functional.cross_entropy(outputs, targets, reduction="none")
        if self.name == "binary_cross_entropy":
            flat = outputs.reshape(len(outputs))
            wanted = targets.reshape(len(outputs)).to(outputs.dtype)
            return functional.binary_cross_entropy_with_logits(flat, wanted, reduction="none")
        flat = outputs.reshape(len(outputs), -1)
        return (flat - targets.reshape(flat.shape).to(flat.dtype)).square().mean(1)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient of each row's loss with respect to its outputs.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            targets: As in :meth:`losses`.

        Returns:
            A tensor of the shape of ``outputs``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            hit = targets[:, None]
            return torch.softmax(outputs, 1).scatter_add_(
                1, hit, outputs.new_full((1, 1), -1.0).expand_as(hit)
            )
        wanted = targets.reshape(outputs.shape).to(outputs.dtype)
        if self.name == "binary_cross_entropy":
            return torch.sigmoid(outputs) - wanted
        return (outputs - wanted) * (2.0 / _columns(outputs))

    def root_columns(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield the columns of an exact root of each row's output Hessian.

        For the softmax the closed-form Cholesky factor of diag(p) - p p^T is used (Tanabe and
        Sagae 1992): one column fewer than classes, since the matrix is singular. It is evaluated
        from differences of logits, so probabilities that underflow do no harm.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.

        Yields:
            Tensors r_c of the shape of ``outputs`` with sum over c of r_c r_c^T = Hessian: C - 1
            of them for ``cross_entropy``, 1 for ``binary_cross_entropy``, k for
            ``mean_squared_error``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            yield from _softmax_cholesky(outputs)
        elif self.name == "binary_cross_entropy":
            yield _logistic_root(outputs)
        else:
            columns = _columns(outputs)
            for column in range(columns):
                root = torch.zeros_like(outputs)
                root.view(len(outputs), columns)[:, column] = math.sqrt(2.0 / columns)
                yield root

    def root_draw(self, outputs: Tensor, signs: Tensor) -> Tensor:
        """Combine the columns of a root with random signs.

        For the softmax: s = sum over c of eps_c sqrt(p_c) (e_c - p), for which
        E[s s^T] = diag(p) - p p^T. The symmetric-looking root is used here instead of the Cholesky
        factor because all classes then share the randomness alike.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            signs: Independent +1 or -1, of the shape of ``outputs``.

        Returns:
            A tensor s of the shape of ``outputs`` with E[s s^T] = Hessian for each row.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            probabilities = torch.softmax(outputs, 1)
            signed = probabilities.sqrt() * signs
            return signed - probabilities * signed.sum(1, keepdim=True)
        if self.name == "binary_cross_entropy":
            return _logistic_root(outputs) * signs
        return signs * math.sqrt(2.0 / _columns(outputs))

    def output_curvature_product(self, outputs: Tensor, direction: Tensor) -> Tensor:
        """Multiply each row's output Hessian by a direction.

        Args:
            outputs: As in :meth:`losses`; not differentiated through.
            direction: A tensor of the shape of ``outputs``.

        Returns:
            A tensor of the shape of ``outputs``.
        """
        outputs = outputs.detach()
        if self.name == "cross_entropy":
            probabilities = torch.softmax(outputs, 1)
            weighted = probabilities * direction
            return weighted - probabilities * weighted.sum(1, keepdim=True)
        if self.name == "binary_cross_entropy":
            return _logistic_root(outputs).square() * direction
        return direction * (2.0 / _columns(outputs))


def _columns(outputs: Tensor) -> int:
    return outputs[0].numel() if outputs.dim() > 1 else 1


def _logistic_root(outputs: Tensor) -> Tensor:
    # sigmoid(-z) instead of 1 - sigmoid(z): the latter is 0 in float32 from z = 17 on.
    return (torch.sigmoid(outputs) * torch.sigmoid(-outputs)).sqrt()


def _softmax_cholesky(logits: Tensor) -> Iterator[Tensor]:
    """Yield the columns of L with L L^T = diag(p) - p p^T, for p = softmax(logits).

    With q_c = sum of p_j over j > c: L_cc = sqrt(p_c q_c / q_{c-1}) and
    L_jc = -(p_j / q_c) L_cc for j > c. Every ratio comes from logits and their tail log-sums.
    """
    logs = torch.log_softmax(logits, 1)
    tails = logs.flip(1).logcumsumexp(1).flip(1)  # tails[:, c] = log of the sum over j >= c
    for c in range(logits.shape[1] - 1):
        diagonal = (0.5 * (logs[:, c] + tails[:, c + 1] - tails[:, c])).exp()
        column = torch.zeros_like(logits)
        column[:, c] = diagonal
        column[:, c + 1 :] = -(logs[:, c + 1 :] - tails[:, c + 1 : c + 2]).exp()
        column[:, c + 1 :] *= diagonal[:, None]
        yield column
