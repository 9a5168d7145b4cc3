"""Adam on the edited loss that may change everything at first, and only a few scalars in the end.

The number of scalars that may differ from where they started falls from all of them to the count
asked for, by the cubic schedule of Zhu and Gupta (2017), in the middle of the run; the end of it is
for what is left, and its last points are averaged (Polyak and Juditsky 1992), which takes away what
single mini-batches did. Whatever leaves goes back to the bits it had. What matters most to keep is
judged by where the descent has moved it, not by one gradient at the start: a scalar stays for the
size of ``movement^2 * curvature``, twice what the loss would rise by if it alone went back (the
saliency of LeCun et al. 1990, taken of the change instead of the weight; sparse differences are
those of Guo et al. 2021).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.methods.masked_descent import restore, set_gradients
from app.unlearning.problem import Problem, unreported
from app.unlearning.rows import Rows
from app.unlearning.selection import Selection, select_extreme

# The mask shrinks between these shares of the run, looked at every so many steps.
_FROM, _TO = 0.2, 0.7
_EVERY = 10
# The step size begins to fall and the average begins at these shares.
_FALL, _AVERAGE = 0.7, 0.8
_BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Shrunk:
    """Where the descent went.

    Attributes:
        values: Full new tensors of the parameters with selected scalars.
        selection: What may differ in the end.
        gradient_evaluations: Gradients computed, counted per row.
    """

    values: dict[str, Tensor]
    selection: Selection
    gradient_evaluations: int


def shrinking_descent(
    problem: Problem,
    strengths: Mapping[str, Tensor],
    count: int,
    *,
    learning_rate: float,
    steps: int,
    batch_size: int,
    rows: Rows | None = None,
    progress: Callable[[float], None] = unreported,
) -> Shrunk:
    """Minimise the edited loss while the mask shrinks.

    The step size is constant at first and falls linearly to zero over the last three tenths. Each
    mini-batch is drawn without replacement from the rows at hand, weighted so that its gradient is
    unbiased for the edited loss.

    Args:
        problem: The problem; its network is read, never written.
        strengths: Candidates by name; by what each scalar's movement is multiplied to rank it, >= 0
            (the square root of its curvature).
        count: Scalars that may differ in the end, at least one.
        learning_rate: Step size of Adam.
        steps: Mini-batch steps.
        batch_size: Rows of a step.
        rows: The edited data of the problem, where a faster copy of them is at hand.
        progress: Told the fraction done.

    Returns:
        The mean of the last points.

    Raises:
        NonFinite: The descent diverged.
    """
    start = {name: problem.parameters[name] for name in strengths}
    theta = {name: t.clone().requires_grad_() for name, t in start.items()}
    selection = Selection.everything(start)
    total = selection.count
    rows = problem.edited if rows is None else rows
    generator = torch.Generator().manual_seed(problem.generator_seed)
    optimizer = torch.optim.Adam(theta.values(), lr=learning_rate, betas=_BETAS, fused=True)
    order = torch.empty(0, dtype=torch.int64)
    last_look = _last_look(steps)
    averaged_from = max(last_look, int(_AVERAGE * steps))
    sums: dict[str, Tensor] = {}
    evaluations = 0
    for step in range(steps):
        if step % _EVERY == 0 or step == last_look:
            left = allowed(step, steps, total, count)
            if left < selection.count:
                selection = _strongest(theta, start, strengths, selection, left)
                restore(theta, start, selection)
        if not len(order):
            order = torch.randperm(len(rows), generator=generator)
        positions, order = order[:batch_size], order[batch_size:]
        optimizer.param_groups[0]["lr"] = learning_rate * falling(step / steps)
        set_gradients(problem, rows, positions, theta, selection)
        optimizer.step()
        if selection.count < total:
            restore(theta, start, selection)
        if step >= averaged_from:
            for name in selection.names:
                moved = theta[name].detach() - start[name]
                sums[name] = moved if name not in sums else sums[name].add_(moved)
        evaluations += len(positions)
        progress((step + 1) / steps)
    means = {name: start[name] + sums[name] / (steps - averaged_from) for name in selection.names}
    restore(means, start, selection)
    return Shrunk(means, selection.touched(), evaluations)


def falling(done: float) -> float:
    """The step size at a share of the run, in units of the first.

    >>> [round(falling(done), 3) for done in (0.0, 0.5, 0.7, 0.85, 1.0)]
    [1.0, 1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, (1 - done) / (1 - _FALL))


def allowed(step: int, steps: int, total: int, count: int) -> int:
    """How many scalars may differ at a step.

    >>> [allowed(step, 100, 1000, 20) for step in (0, 20, 45, 70, 99)]
    [1000, 1000, 142, 20, 20]
    """
    done = (step / steps - _FROM) / (_TO - _FROM)
    # Binary fractions must not leave the last few in when the schedule has ended.
    left = 1 - min(1.0, max(0.0, done + 1e-9))
    return count + round((total - count) * left**3)


def _last_look(steps: int) -> int:
    """The first step at which the schedule has ended; a short run ends it at its last step."""
    return next((step for step in range(steps) if allowed(step, steps, 2, 1) == 1), steps - 1)


def _strongest(
    theta: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    strengths: Mapping[str, Tensor],
    selection: Selection,
    count: int,
) -> Selection:
    """Keep the scalars whose way back would cost most; none that has left comes back."""
    scores = {}
    for name, tensor in theta.items():
        moved = (tensor.detach() - start[name]).abs() * strengths[name].to(tensor.dtype)
        scores[name] = moved.masked_fill(~selection.masks[name], -1.0)
    return select_extreme(scores, count)
