"""The summed objective of one linear layer: value, gradient, Hessian, and constants for proofs.

    F(theta) = sum over rows of loss(x theta^T) + rows * weight_decay / 2 * |theta|^2 + <b, theta>

That is ``rows`` times the mean objective of this package plus the linear term b of objective
perturbation (Chaudhuri, Monteleoni and Sarwate 2011). A bias is the weight of a feature that is
always one: it is regularised like the others and counts in the norms. Several outputs are one
vector of parameters with one noise, not a head each with a budget of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows

_BATCH = 4096
# Up to this many features the Gram matrix is formed; beyond it the Frobenius norm must do.
_GRAM_LIMIT = 4096
# Eigenvalues are exact to rounding; the bound must not be below the truth.
_ROUNDING = 1.0 + 1e-9


@dataclass(frozen=True)
class Constants:
    """Bounds on the derivatives of one row's loss with respect to its outputs.

    Attributes:
        slope: On the norm of the gradient; None if there is none.
        bend: On the norm of the Hessian Q.
        twist: On the norm of the change of Q over the norm of the change of the outputs.
    """

    slope: float | None
    bend: float
    twist: float


# The third derivative of the logistic loss is at most 1 / (6 sqrt 3). For the softmax it is the
# third central moment of a direction under the class probabilities; a unit vector spreads over at
# most sqrt 2, and a variable on an interval of length r has one of at most r^3 / (6 sqrt 3).
_LOGISTIC_TWIST = 1 / (6 * 3**0.5)
_CONSTANTS = {
    "binary_cross_entropy": Constants(1.0, 0.25, _LOGISTIC_TWIST),
    "cross_entropy": Constants(2**0.5, 0.5, 2**1.5 * _LOGISTIC_TWIST),
}


@dataclass
class SummedObjective:
    """F on a set of rows; parameters are one matrix (outputs, features), the bias its last column.

    Attributes:
        objective: The loss of a row and the weight decay.
        rows: The rows, each counting once.
        has_bias: Whether a feature that is always one is appended.
        linear: b, (outputs, features), float64; None for no linear term.
        gradient_evaluations: Rows passed over for a gradient or a Hessian so far.
    """

    objective: Objective
    rows: Rows
    has_bias: bool
    linear: Tensor | None = None
    gradient_evaluations: int = field(default=0, init=False)

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(self.rows)

    @property
    def decay(self) -> float:
        """Strong convexity: the smallest eigenvalue of the Hessian is at least this."""
        return self.count * self.objective.weight_decay

    def constants(self, outputs: int) -> Constants:
        """The derivative bounds of the loss with so many outputs."""
        flat = Constants(None, 2.0 / outputs, 0.0)
        return _CONSTANTS.get(self.objective.name, flat)

    def value(self, theta: Tensor) -> float:
        """F(theta)."""
        total = 0.5 * self.decay * float(theta.square().sum())
        if self.linear is not None:
            total += float((self.linear * theta).sum())
        for X, batch in self._designs():
            total += float(self.objective.losses(X @ theta.T, batch.targets).sum())
        return total

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient of F at theta, (outputs, features)."""
        total = self.decay * theta
        if self.linear is not None:
            total = total + self.linear
        for X, batch in self._designs():
            total = total + self.objective.output_gradient(X @ theta.T, batch.targets).T @ X
        self.gradient_evaluations += self.count
        return total

    def hessian(self, theta: Tensor) -> Tensor:
        """The Hessian of F at theta, (outputs * features, outputs * features)."""
        outputs, features = theta.shape
        blocks = theta.new_zeros(outputs, features, outputs, features)
        for X, _ in self._designs():
            logits = X @ theta.T
            for k in range(outputs):
                unit = torch.zeros_like(logits)
                unit[:, k] = 1.0
                column = self.objective.output_curvature_product(logits, unit)
                for other in range(k, outputs):
                    blocks[k, :, other] += (X * column[:, other, None]).T @ X
        for k in range(outputs):
            for other in range(k):
                blocks[k, :, other] = blocks[other, :, k].T
        self.gradient_evaluations += self.count
        whole = blocks.reshape(theta.numel(), theta.numel())
        whole.diagonal().add_(self.decay)
        return whole

    def product(self, theta: Tensor, direction: Tensor) -> Tensor:
        """The Hessian at theta times a direction of its shape."""
        total = self.decay * direction
        for X, _ in self._designs():
            bent = self.objective.output_curvature_product(X @ theta.T, X @ direction.T)
            total = total + bent.T @ X
        self.gradient_evaluations += self.count
        return total

    def output_changes(self, step: Tensor) -> Iterator[Tensor]:
        """For each batch, how far the outputs of its rows move by a step of the parameters."""
        return (X @ step.T for X, _ in self._designs())

    @cached_property
    def norms(self) -> tuple[float, float]:
        """The largest norm of a row's features, and the spectral norm of all of them.

        The latter from above: its Frobenius norm where there are too many features.
        """
        largest, squares = 0.0, 0.0
        gram: Tensor | None = None
        for X, _ in self._designs():
            lengths = X.square().sum(1)
            largest = max(largest, float(lengths.max()))
            squares += float(lengths.sum())
            if X.shape[1] <= _GRAM_LIMIT:
                part = X.T @ X
                gram = part if gram is None else gram + part
        spectral = squares if gram is None else float(torch.linalg.eigvalsh(gram)[-1])
        return largest**0.5, (max(0.0, spectral) * _ROUNDING) ** 0.5

    def _designs(self) -> Iterator[tuple[Tensor, Batch]]:
        """Yield the features of each batch, (b, features), float64, and the batch.

        Raises:
            NotApplicable: A row counts for more or less than one.
        """
        for batch in self.rows.batches(_BATCH):
            if batch.weights is not None:
                raise NotApplicable("a proof needs every row, and each exactly once")
            X = batch.inputs.flatten(1).double()
            if self.has_bias:
                X = torch.cat([X, X.new_ones(len(X), 1)], 1)
            yield X, batch
