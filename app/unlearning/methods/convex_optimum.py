"""The optimum of the edited objective of a convex model, by Newton's method.

For a linear model the whole objective is convex, so there is no need to stop after the single step
of an influence function: a few Newton steps reach the parameters that retraining to convergence
would find. Each is solved for by conjugate gradients, only as exactly as it is worth (Dembo,
Eisenstat and Steihaug 1982); where those get stuck, a small Hessian is factorised.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.double_precision import Float64Rows, in_float64
from app.unlearning.errors import NotConverged
from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem, unreported
from app.unlearning.rows import Rows
from app.unlearning.sampling import uniform_sample
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import solve_damped
from app.unlearning.solvers.conjugate_gradient import conjugate_gradient
from app.unlearning.solvers.recycling import Recycling

# Up to this many parameters the Hessian may be formed (32 MB in float64).
DENSE_LIMIT = 2048
# Forming the Hessian of so few scalars costs no more than the products it saves.
_FEW = 32
# Products after which forming it is cheaper, at least; and most where it is too large for that.
_LEAST_PRODUCTS, _MOST_PRODUCTS = 50, 500
# Rows for each scalar from which a Hessian is taken as preconditioner, and what it may cost in
# passes over all rows; a matrix product makes some 16 multiplications in the time of one loose one.
_SAMPLED, _WORTH = 10, 32
# Relative residuals of a solve: the most and the least that is left. Products are good to 1e-7.
_FORCING, _LEAST_FORCING = 0.2, 1e-4
# Accuracies from which on solves need no more than the former.
_COARSE = 1e-3
_DAMPINGS = (0.0, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_HALVINGS = 30


@dataclass(frozen=True)
class Optimum:
    """Where Newton's method stopped.

    Attributes:
        theta: The parameters with selected scalars, float64.
        steps: Newton steps.
        gradient_norm: 2-norm of the gradient of the edited mean objective at ``theta``, on the
            selection.
        loss_before: Edited loss at the start.
        loss_after: Edited loss at ``theta``.
        gradient_evaluations: Rows passed over, for a gradient or for a product of the curvature.
    """

    theta: dict[str, Tensor]
    steps: int
    gradient_norm: float
    loss_before: float
    loss_after: float
    gradient_evaluations: int


def convex_optimum(
    problem: Problem,
    *,
    tolerance: float,
    max_steps: int,
    accuracy: float | None = None,
    selection: Selection | None = None,
    progress: Callable[[float], None] = unreported,
) -> Optimum:
    """Minimise the edited objective of a model that is one linear layer.

    Args:
        problem: A problem with a convex objective.
        tolerance: Gradient norm (of the mean objective, on the selection) at which to stop.
        max_steps: Most Newton steps.
        accuracy: Stop as well once what is left of the way is estimated to be this share of the
            way made; None leaves it to the tolerance.
        selection: The scalars that may change; None for all.
        progress: Told the fraction done.

    Returns:
        The optimum to the tolerance, or to the accuracy.

    Raises:
        NotConverged: Neither is met after ``max_steps``, or no step lowers the objective any more.
    """
    selection = (selection or Selection.everything(problem.parameters)).touched()
    search = _Search(problem, selection)
    before, steps = search.value, 0
    goal, forcing = accuracy or 0.0, _FORCING
    while not search.is_within(tolerance, goal) and steps < max_steps:
        norm = search.norm
        # A solve leaves no less than what the search may leave in the end.
        residual = min(max(forcing, 0.5 * tolerance / norm, _LEAST_FORCING), _FORCING)
        if not search.move(search.direction(residual)):
            break
        if goal < _COARSE:
            # The step's own error is quadratic, so the next solve is worth as much (Eisenstat and
            # Walker 1996, their second choice). Few steps to a coarse goal had better be cheap.
            forcing = (search.norm / norm) ** 2
        steps += 1
        progress(steps / max_steps)
    if not search.is_within(tolerance, goal):
        raise NotConverged(search.norm, tolerance)
    return Optimum(search.theta, steps, search.norm, before, search.value, search.evaluations)


class _Search:
    """A point on the way, and where to go from it.

    Attributes:
        theta: Full float64 tensors of the parameters with selected scalars.
        value: Edited loss there.
        norm: 2-norm of the gradient on the selection.
        left: Estimated distance to the optimum, as a share of the distance from the start; 0
            before the first step.
    """

    def __init__(self, problem: Problem, selection: Selection) -> None:
        self._problem, self._selection = problem, selection
        self._objective = LinearObjective(problem)
        self._formed = 0
        self._recycling: Recycling | None = None
        self.theta = {name: problem.parameters[name].double() for name in selection.names}
        self._start = selection.gather(self.theta)
        self._see(*self._objective.loss_and_gradient(self.theta))
        self.left = 0.0

    @property
    def evaluations(self) -> int:
        """Rows passed over so far."""
        return self._objective.gradient_evaluations + self._formed

    def is_within(self, tolerance: float, accuracy: float) -> bool:
        """Whether the gradient, or the estimated distance, is small enough."""
        return self.norm <= tolerance or 0.0 < self.left <= accuracy

    def direction(self, residual: float) -> Tensor:
        """Solve ``H d = -g`` to a relative residual."""
        selection, count = self._selection, len(self._gradient)
        is_small = count <= DENSE_LIMIT
        if count <= _FEW and is_small:
            return self._by_factorisation()
        if self._recycling is None:
            self._recycling = Recycling(self._conditioner())
        recycling = self._recycling

        def product(vector: Tensor) -> Tensor:
            image = selection.gather(self._objective.product(selection.scatter(vector)))
            recycling.remember(vector, image)
            return image

        solve = conjugate_gradient(
            product,
            -self._gradient,
            tolerance=residual,
            max_steps=max(_LEAST_PRODUCTS, count // 4) if is_small else _MOST_PRODUCTS,
            conditioner=recycling.preconditioner(),
            verify=False,
        )
        # Otherwise an inexact direction has to do: the outer loop checks the gradient itself.
        if is_small and solve.residual > 2 * residual:
            return self._by_factorisation()
        return solve.solution

    def move(self, step: Tensor) -> bool:
        """Go along the step to where the objective is about least.

        Halves the way until the objective, or near the optimum the gradient, is smaller.

        Returns:
            Whether it is; if not, nothing has moved.
        """
        line = self._objective.line(self.theta, self._selection.scatter(step))
        length = line.length(float(self._gradient @ step))
        for _ in range(_HALVINGS):
            point = self._selection.add(self.theta, length * step)
            value, gradient = self._objective.loss_and_gradient(point, line.outputs(length))
            smaller = float(self._selection.gather(gradient).norm()) < self.norm
            # Below this the objective is flat to rounding, and only the gradient can tell.
            flat = abs(value - self.value) <= 1e-12 * abs(self.value)
            if (value < self.value and not flat) or (flat and smaller):
                self.theta = point
                self._see(value, gradient)
                self._estimate()
                return True
            length /= 2
        return False

    def _see(self, value: float, gradient: Mapping[str, Tensor]) -> None:
        self.value, self._gradient = value, self._selection.gather(gradient)
        self.norm = float(self._gradient.norm())

    def _estimate(self) -> None:
        """Take what the preconditioner makes of the gradient for the way that is left."""
        moved = float((self._selection.gather(self.theta) - self._start).norm())
        if self._recycling is not None and moved > 0:
            step = self._recycling.preconditioner()(self._gradient)
            self.left = float(step.norm()) / moved

    def _conditioner(self) -> Callable[[Tensor], Tensor]:
        """Prepare a preconditioner, for this step and those after it.

        Where rows are many times the scalars, the factor of the Hessian of a few of them, which
        leaves conjugate gradients next to nothing to do; otherwise the diagonal.
        """
        count, problem = len(self._gradient), self._problem
        rows = _SAMPLED * count
        if rows * count <= _WORTH * len(problem.edited) and count <= DENSE_LIMIT:
            generator = torch.Generator().manual_seed(problem.generator_seed)
            sample = uniform_sample(problem.edited, rows, generator)
            factor, failure = torch.linalg.cholesky_ex(self._block(sample))
            if not int(failure):
                return lambda v: torch.cholesky_solve(v[:, None], factor)[:, 0]
        diagonal = self._selection.gather(self._objective.diagonal())
        diagonal.clamp_(min=torch.finfo(torch.float64).tiny)
        return lambda v: v / diagonal

    def _block(self, rows: Rows) -> Tensor:
        curvature = EditedCurvature(
            in_float64(self._problem), self.theta, self._selection, rows=Float64Rows(rows)
        )
        self._formed += len(rows)
        return curvature.block()

    def _by_factorisation(self) -> Tensor:
        block = self._block(self._problem.edited)
        # Without weight decay collinear features make H singular; the least damping that factors
        # is far below what the gradient tolerance can see.
        scale = float(block.diagonal().mean())
        for relative in _DAMPINGS:
            (step,) = solve_damped(block, -self._gradient, [relative * scale])
            if step is not None:
                return step
        return -self._gradient
