"""Adam on the selected scalars only, keeping the best point seen on a fixed sample.

A fresh optimiser state, a mask on the update and not only on the gradient (moments would leak
otherwise), no decay outside the selection: scalars that are not selected keep their bits. Adam does
not depend on the units of the loss as long as gradients are far above its epsilon of 1e-8, below
which they count as noise. Mini-batches are drawn by position: with the order of the rows their
draw changes, unless one batch takes all rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.problem import Problem, unreported
from app.unlearning.rows import Rows
from app.unlearning.sampling import judging_rows
from app.unlearning.selection import Selection

_EVALUATIONS = 5


@dataclass(frozen=True)
class Descent:
    """Where a descent went.

    Attributes:
        values: Full new tensors of the parameters with selected scalars: the best point seen.
        loss_before: Edited loss at the start, on the evaluation sample.
        loss_after: The same at ``values``; never above ``loss_before``.
        best_step: The step at which the best point was seen; 0 if none was better than the start.
        steps: Steps made.
        gradient_evaluations: Gradients computed, counted per row.
    """

    values: dict[str, Tensor]
    loss_before: float
    loss_after: float
    best_step: int
    steps: int
    gradient_evaluations: int


def masked_descent(
    problem: Problem,
    selection: Selection,
    *,
    learning_rate: float,
    steps: int,
    batch_size: int,
    progress: Callable[[float], None] = unreported,
) -> Descent:
    """Minimise the edited loss over the selected scalars by Adam on mini-batches.

    The step size is constant for the first half and falls linearly to zero over the second. Each
    mini-batch is a uniform draw without replacement from the rows at hand, weighted so that its
    gradient is unbiased for the edited loss.

    Args:
        problem: The problem; its network is read, never written.
        selection: What may change.
        learning_rate: Step size of Adam.
        steps: Mini-batch steps.
        batch_size: Rows of a step.
        progress: Told the fraction done.

    Returns:
        The best of the start and the points looked at on the way.
    """
    selection = selection.touched()
    start = {name: problem.parameters[name] for name in selection.names}
    rows = problem.edited
    generator = torch.Generator().manual_seed(problem.generator_seed)
    judge = EditedLoss(problem, rows=judging_rows(problem, generator))
    before = judge.loss(start)
    best, best_loss, best_step = start, before, 0
    theta = {name: t.clone().requires_grad_() for name, t in start.items()}
    optimizer = torch.optim.Adam(theta.values(), lr=learning_rate, betas=(0.9, 0.99))
    order = torch.empty(0, dtype=torch.int64)
    evaluations = 0
    for step in range(1, steps + 1):
        if not len(order):
            order = torch.randperm(len(rows), generator=generator)
        positions, order = order[:batch_size], order[batch_size:]
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, 2 * (1 - (step - 1) / steps))
        set_gradients(problem, rows, positions, theta, selection)
        optimizer.step()
        restore(theta, start, selection)
        evaluations += len(positions)
        if step % max(1, steps // _EVALUATIONS) == 0 or step == steps:
            point = {name: t.detach().clone() for name, t in theta.items()}
            loss = judge.loss(point)
            if loss < best_loss:
                best, best_loss, best_step = point, loss, step
        progress(step / steps)
    return Descent(best, before, best_loss, best_step, steps, evaluations)


def set_gradients(
    problem: Problem,
    rows: Rows,
    positions: Tensor,
    theta: Mapping[str, Tensor],
    selection: Selection,
) -> None:
    """Put the masked gradient of one mini-batch, decay included, into the leaves ``theta``.

    Args:
        problem: The problem; its network is read, never written.
        rows: What ``positions`` point into: the edited data at hand.
        positions: The mini-batch, (b,) int64.
        theta: Leaves by name; their ``grad`` is set.
        selection: What may change, of the same names.
    """
    batch = rows.take(positions)
    outputs = outputs_of(
        lambda inputs: functional_call(problem.model, dict(theta), (inputs,)), batch.inputs
    )
    losses = problem.objective.losses(outputs, batch.targets)
    if batch.weights is not None:
        losses = losses * batch.weights
    # A row at hand stands for weight rows of the edited data; the mean over draws of
    # weight * loss * (rows at hand / rows of the edited data) is the edited loss.
    loss = losses.mean() * (len(rows) / problem.edited_total)
    parts = torch.autograd.grad(
        loss, list(theta.values()), allow_unused=True, materialize_grads=True
    )
    decay = problem.objective.weight_decay
    for (name, tensor), part in zip(theta.items(), parts, strict=True):
        # In this order: sparse gradients, of tables of embeddings, can be added to others only.
        tensor.grad = (decay * tensor.detach() + part) * selection.masks[name]


def restore(theta: Mapping[str, Tensor], start: Mapping[str, Tensor], selection: Selection) -> None:
    """Give scalars of ``theta`` outside the selection the bits they had at ``start``."""
    with torch.no_grad():
        for name, tensor in theta.items():
            tensor.copy_(torch.where(selection.masks[name], tensor, start[name]))
