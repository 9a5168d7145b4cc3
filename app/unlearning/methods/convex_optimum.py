"""The optimum of the edited objective of a convex model, by Newton's method in float64.

For a linear model the whole objective is convex, so there is no need to stop after the single step
of an influence function: a few exact Newton steps reach the parameters that retraining to
convergence would find.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotConverged
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem, unreported
from app.unlearning.rows import Batch, Rows
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import solve_damped
from app.unlearning.solvers.conjugate_gradient import conjugate_gradient

# Up to this many parameters the Hessian is kept as a matrix (32 MB in float64).
DENSE_LIMIT = 2048
_DAMPINGS = (0.0, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_HALVINGS = 30


@dataclass(frozen=True)
class Optimum:
    """Where Newton's method stopped.

    Attributes:
        theta: All parameters, float64.
        steps: Newton steps.
        gradient_norm: 2-norm of the gradient of the edited mean objective at ``theta``.
        loss_before: Edited loss at the start.
        loss_after: Edited loss at ``theta``.
        gradient_evaluations: Gradients computed, counted per row.
    """

    theta: dict[str, Tensor]
    steps: int
    gradient_norm: float
    loss_before: float
    loss_after: float
    gradient_evaluations: int


@dataclass(frozen=True)
class Float64Rows:
    """Rows whose floating-point inputs and weights are read in float64.

    Attributes:
        rows: The rows.
    """

    rows: Rows

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""
        return (_double(batch) for batch in self.rows.batches(size))

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``."""
        return _double(self.rows.take(positions))


def in_float64(problem: Problem) -> Problem:
    """The same problem with a float64 copy of the network and rows read in float64."""
    return replace(
        problem,
        model=copy.deepcopy(problem.model).double(),
        forget=Float64Rows(problem.forget),
        replacement=Float64Rows(problem.replacement),
        retained=Float64Rows(problem.retained),
    )


def convex_optimum(
    problem: Problem,
    *,
    tolerance: float,
    max_steps: int,
    progress: Callable[[float], None] = unreported,
) -> Optimum:
    """Minimise the edited objective over all parameters.

    Args:
        problem: A problem with a convex objective.
        tolerance: Gradient norm (of the mean objective) at which to stop.
        max_steps: Most Newton steps.
        progress: Told the fraction done.

    Returns:
        The optimum to the tolerance.

    Raises:
        NotConverged: The gradient norm is above ``tolerance`` after ``max_steps``, or no step
            lowers the objective any more.
    """
    problem = in_float64(problem)
    loss = EditedLoss(problem, batch_size=4096)
    selection = Selection.everything(problem.parameters)
    theta = problem.parameters
    value, gradient = loss.loss_and_gradient(theta)
    before, evaluations, steps = value, 0, 0
    norm = float(selection.gather(gradient).norm())
    while norm > tolerance and steps < max_steps:
        flat = selection.gather(gradient)
        step, cost = _newton_direction(problem, theta, selection, flat)
        evaluations += cost
        theta, value, gradient, moved = _backtrack(loss, theta, selection, step, value, gradient)
        if not moved:
            break
        norm = float(selection.gather(gradient).norm())
        steps += 1
        progress(steps / max_steps)
    if not norm <= tolerance:
        raise NotConverged(norm, tolerance)
    evaluations += loss.gradient_evaluations
    return Optimum(theta, steps, norm, before, value, evaluations)


def _newton_direction(
    problem: Problem, theta: dict[str, Tensor], selection: Selection, gradient: Tensor
) -> tuple[Tensor, int]:
    """Solve ``H d = -g``, and say how many row gradients that counts for."""
    curvature = EditedCurvature(problem, theta, selection)
    if selection.count > DENSE_LIMIT:
        # An inexact direction is enough: the outer loop checks the gradient itself.
        solve = conjugate_gradient(curvature.product, -gradient, tolerance=1e-8, max_steps=500)
        return solve.solution, curvature.gradient_evaluations
    block = curvature.block()
    # Without weight decay collinear features make H singular; the least damping that factors is
    # far below what the gradient tolerance can see.
    scale = float(block.diagonal().mean())
    for relative in _DAMPINGS:
        (step,) = solve_damped(block, -gradient, [relative * scale])
        if step is not None:
            return step, curvature.gradient_evaluations
    return -gradient, curvature.gradient_evaluations


def _backtrack(
    loss: EditedLoss,
    theta: dict[str, Tensor],
    selection: Selection,
    step: Tensor,
    value: float,
    gradient: dict[str, Tensor],
) -> tuple[dict[str, Tensor], float, dict[str, Tensor], bool]:
    """Halve the step until the objective, or near the optimum the gradient, falls."""
    norm = float(selection.gather(gradient).norm())
    for halving in range(_HALVINGS):
        point = selection.add(theta, step * 0.5**halving)
        new_value, new_gradient = loss.loss_and_gradient(point)
        smaller = float(selection.gather(new_gradient).norm()) < norm
        # Below this the objective is flat to rounding, and only the gradient can tell.
        flat = abs(new_value - value) <= 1e-12 * abs(value)
        if (new_value < value and not flat) or (flat and smaller):
            return point, new_value, new_gradient, True
    return theta, value, gradient, False


def _double(batch: Batch) -> Batch:
    weights = None if batch.weights is None else batch.weights.double()
    floating = batch.inputs.is_floating_point()
    inputs = batch.inputs.double() if floating else batch.inputs
    return Batch(inputs, batch.targets, weights)
