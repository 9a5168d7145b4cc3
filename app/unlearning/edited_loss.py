"""The loss on the edited data as a function of the parameters, and its gradient.

``L(theta) = sum over edited rows of weight * loss / rows of the edited data + decay``, where the
retained rows at hand are weighted so that the sum is unbiased and the decay is half of
``weight_decay`` times the sum of squares of all parameters.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.errors import NotApplicable
from app.unlearning.problem import Problem
from app.unlearning.rows import Batch, Rows


class EditedLoss:
    """Streams the edited data to evaluate the loss at any parameters.

    ``theta`` is a dictionary of some or all of the trainable parameters; those that are missing
    keep the network's values, and derivatives are taken for those that are given.

    Attributes:
        gradient_evaluations: Rows for which a gradient was computed so far.
    """

    def __init__(
        self, problem: Problem, *, batch_size: int = 1024, rows: Rows | None = None
    ) -> None:
        """Prepare to stream.

        Args:
            problem: The problem; its network is read, never written.
            batch_size: Rows of a forward pass.
            rows: Stream these instead of the edited data, to be divided by their own weight.

        Raises:
            NotApplicable: There are no rows.
        """
        self._model = problem.model
        self._objective = problem.objective
        self._rows = problem.edited if rows is None else rows
        self._total = float(problem.edited_total) if rows is None else total_weight(rows)
        if not (len(self._rows) and self._total > 0):
            raise NotApplicable("no edited rows are at hand")
        self._decay = problem.objective.weight_decay
        self._own = problem.parameters
        self._batch_size = batch_size
        self.gradient_evaluations = 0

    def loss(self, theta: Mapping[str, Tensor]) -> float:
        """The loss at ``theta``, accumulated in float64."""
        total = 0.0
        with torch.no_grad():
            for batch in self._rows.batches(self._batch_size):
                total += float(self._batch_loss(theta, batch).double())
        return total / self._total + self._decay_loss(theta)

    def gradient(self, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradient at ``theta``, one tensor for each parameter given."""
        return self.loss_and_gradient(theta)[1]

    def loss_and_gradient(self, theta: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """The loss and its gradient at ``theta`` in one pass."""
        leaves = {name: t.detach().requires_grad_() for name, t in theta.items()}
        gradient = {name: self._decay * t.detach() for name, t in theta.items()}
        total = 0.0
        for batch in self._rows.batches(self._batch_size):
            self.gradient_evaluations += len(batch)
            loss = self._batch_loss(leaves, batch)
            total += float(loss.detach().double())
            if not loss.requires_grad:
                continue
            # Parameters may take no part, such as those of a head that is not asked.
            parts = torch.autograd.grad(
                loss / self._total,
                list(leaves.values()),
                allow_unused=True,
                materialize_grads=True,
            )
            for name, part in zip(leaves, parts, strict=True):
                gradient[name] += part
        return total / self._total + self._decay_loss(theta), gradient

    def _outputs(self, theta: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return outputs_of(
            lambda inputs: functional_call(self._model, dict(theta), (inputs,)), batch.inputs
        )

    def _batch_loss(self, theta: Mapping[str, Tensor], batch: Batch) -> Tensor:
        losses = self._objective.losses(self._outputs(theta, batch), batch.targets)
        return losses.sum() if batch.weights is None else (losses * batch.weights).sum()

    def _decay_loss(self, theta: Mapping[str, Tensor]) -> float:
        if self._decay == 0:
            return 0.0
        values = (theta.get(name, own) for name, own in self._own.items())
        return 0.5 * self._decay * sum(float(v.detach().double().square().sum()) for v in values)


def total_weight(rows: Rows) -> float:
    """The number of rows that ``rows`` stand for: the sum of their weights."""
    return sum(batch.total_weight() for batch in rows.batches(4096))


def correction_gradient(
    problem: Problem, theta: Mapping[str, Tensor], *, batch_size: int = 1024
) -> tuple[dict[str, Tensor], int]:
    """What the correction adds to the gradient of the mean loss (gamma of Warnecke et al. 2023).

    ``gamma = (sum over replacement of grad loss - sum over forget of grad loss) / n'
    + weight_decay * theta * (1 - n / n')`` for ``n`` rows before and ``n'`` after the edit. The
    last term is zero for a correction; for a deletion it is what the decay gains when a mean over
    fewer rows is taken. At an optimum of the original objective, gamma is the gradient of the
    edited one, found without the retained rows.

    Args:
        problem: The problem; its network is read, never written.
        theta: Where, and for which parameters.
        batch_size: Rows of a forward pass.

    Returns:
        gamma, one tensor for each parameter of ``theta``, and the number of row gradients computed.
    """
    after = problem.edited_total
    decay = problem.objective.weight_decay
    shift = decay * (1 - problem.original_total / after)
    gamma = {name: shift * t.detach() for name, t in theta.items()}
    evaluations = 0
    for rows, sign in ((problem.replacement, 1.0), (problem.forget, -1.0)):
        if not len(rows):
            continue
        loss = EditedLoss(problem, rows=rows, batch_size=batch_size)
        share = sign * total_weight(rows) / after
        for name, part in loss.gradient(theta).items():
            gamma[name] += share * (part - decay * theta[name].detach())
        evaluations += loss.gradient_evaluations
    return gamma, evaluations
