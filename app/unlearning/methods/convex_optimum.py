"""The optimum of the edited objective of a convex model, by quasi-Newton steps.

For a linear model the whole objective is convex, so there is no need to stop after the single step
of an influence function: some steps more reach the parameters that retraining to convergence would
find. They begin with an approximate inverse of the Hessian (:mod:`convex_conditioner`) and improve
it by what each step did to the gradient, which takes one pass over the rows a step. Passes are made
in float32 as long as its error, measured at the start, is far below the gradient; the point that is
returned is judged in float64. Where this gets stuck, a small Hessian is factorised.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.double_precision import Float64Rows, in_float64
from app.unlearning.errors import NotConverged
from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods.convex_conditioner import DENSE_LIMIT, conditioner
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem, unreported
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import solve_damped
from app.unlearning.solvers.secant_pairs import SecantPairs

# Forming the Hessian of so few scalars costs no more than the steps it saves.
_FEW = 32
# Steps after which forming a small one is cheaper than going on.
_PATIENCE = 60
_PAIRS = 20
# How much shorter steps are to become over a few of them, or the curvature is taken anew.
_WATCHED, _WORTHWHILE = 8, 12.0
# How many times the error of float32 a gradient must be for it.
_TRUSTED = 20.0
_DAMPINGS = (0.0, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8)
_HALVINGS = 30


@dataclass(frozen=True)
class Optimum:
    """Where the search stopped.

    Attributes:
        theta: The parameters with selected scalars, float64.
        steps: Steps made.
        gradient_norm: 2-norm of the gradient of the edited mean objective at ``theta``, on the
            selection.
        loss_before: Edited loss at the start.
        loss_after: Edited loss at ``theta``.
        gradient_evaluations: Rows passed over, for a gradient or for the curvature.
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
        max_steps: Most steps.
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
    goal = accuracy or 0.0
    while not search.is_settled_within(tolerance, goal) and steps < max_steps:
        if not search.advance(directly=steps >= _PATIENCE):
            break
        steps += 1
        progress(steps / max_steps)
    if not search.is_settled_within(tolerance, goal):
        raise NotConverged(search.norm, tolerance)
    return Optimum(search.theta, steps, search.norm, before, search.value, search.evaluations)


class _Search:
    """A point on the way, and where to go from it.

    Attributes:
        theta: Full float64 tensors of the parameters with selected scalars.
        value: Edited loss there.
        norm: 2-norm of the gradient on the selection.
    """

    def __init__(self, problem: Problem, selection: Selection) -> None:
        self._problem, self._selection = problem, selection
        self._objective = LinearObjective(problem)
        self._formed = 0
        self._base: Callable[[Tensor], Tensor] | None = None
        self._pairs = SecantPairs(_PAIRS)
        self._lengths: deque[float] = deque(maxlen=_WATCHED + 1)
        self._next: Tensor | None = None
        self.theta = {name: problem.parameters[name].double() for name in selection.names}
        self._start = selection.gather(self.theta)
        self._see(*self._objective.loss_and_gradient(self.theta))
        _, nearly = self._objective.nearly(self.theta)
        measured = float((selection.gather(nearly) - self._gradient).norm())
        self._error = max(measured, torch.finfo(torch.float32).eps * self.norm)
        self._is_narrow = _TRUSTED * self._error < self.norm

    @property
    def evaluations(self) -> int:
        """Rows passed over so far."""
        return self._objective.gradient_evaluations + self._formed

    def is_settled_within(self, tolerance: float, accuracy: float) -> bool:
        """Whether the gradient, or the estimated distance, is small enough, in float64."""
        is_within = self._is_within(tolerance, accuracy)
        if is_within and self._is_narrow:
            self._widen()
            is_within = self._is_within(tolerance, accuracy)
        return is_within

    def advance(self, *, directly: bool) -> bool:
        """Go a step on.

        Args:
            directly: Factorise the Hessian if it is small enough.

        Returns:
            Whether that lowered the objective or, near the optimum, the gradient; if not, nothing
            has moved.
        """
        count = len(self._gradient)
        directly = count <= DENSE_LIMIT and (directly or count <= _FEW)
        way = self._by_factorisation if directly else self._step
        if not directly:
            self._renew()
        if self._move(way()):
            return True
        if self._is_narrow:
            self._widen()
            if self._move(way()):
                return True
        if directly:
            return False
        # The pairs may be stale.
        self._pairs.clear()
        self._next = None
        if self._move(self._step()):
            return True
        return count <= DENSE_LIMIT and self._move(self._by_factorisation())

    def _is_within(self, tolerance: float, accuracy: float) -> bool:
        if self.norm <= tolerance:
            return True
        if self._base is None or accuracy <= 0:
            return False
        moved = float((self._selection.gather(self.theta) - self._start).norm())
        return float(self._step().norm()) <= accuracy * moved

    def _step(self) -> Tensor:
        """Where Newton's method would go, as far as the Hessian is known."""
        if self._base is None:
            self._base, read = conditioner(
                self._problem, self._objective, self.theta, self._selection
            )
            self._formed += read
        if self._next is None:
            self._next = -self._pairs.applied(self._gradient, self._base)
        return self._next

    def _renew(self) -> None:
        """Take the curvature anew where steps have become little shorter of late."""
        self._lengths.append(float(self._step().norm()))
        if self._lengths[0] < _WORTHWHILE * self._lengths[-1] and len(self._lengths) > _WATCHED:
            self._base = self._next = None
            self._pairs.clear()
            self._lengths.clear()

    def _widen(self) -> None:
        """Go on in float64."""
        self._is_narrow = False
        self._see(*self._objective.loss_and_gradient(self.theta))

    def _move(self, step: Tensor) -> bool:
        """Go along the step to where the objective is about least, by halves if need be.

        Returns:
            Whether the objective, or near the optimum the gradient, is smaller; else nothing moved.
        """
        objective, old = self._objective, self._gradient
        direction = self._selection.scatter(step)
        line = objective.line(self.theta, direction, single=self._is_narrow)
        length = line.length(float(old @ step))
        for _ in range(_HALVINGS):
            point = self._selection.add(self.theta, length * step)
            evaluate = objective.nearly if self._is_narrow else objective.loss_and_gradient
            value, gradient = evaluate(point, line.outputs(length))
            norm = float(self._selection.gather(gradient).norm())
            # Below this the objective is flat to rounding, and only the gradient can tell.
            flat = abs(value - self.value) <= 1e-12 * abs(self.value)
            if (value < self.value and not flat) or (flat and norm < self.norm):
                self.theta = point
                self._see(value, gradient)
                self._pairs.remember(length * step, self._gradient - old)
                if self._is_narrow and norm < _TRUSTED * self._error:
                    self._widen()
                return True
            length /= 2
        return False

    def _see(self, value: float, gradient: Mapping[str, Tensor]) -> None:
        self.value, self._gradient = value, self._selection.gather(gradient)
        self.norm = float(self._gradient.norm())
        self._next = None

    def _by_factorisation(self) -> Tensor:
        rows = Float64Rows(self._problem.edited)
        precise = in_float64(self._problem)
        curvature = EditedCurvature(precise, self.theta, self._selection, rows=rows)
        block = curvature.block()
        self._formed += curvature.rows
        # Without weight decay collinear features make H singular; the least damping that factors
        # is far below what the gradient tolerance can see.
        scale = float(block.diagonal().mean())
        for relative in _DAMPINGS:
            (step,) = solve_damped(block, -self._gradient, [relative * scale])
            if step is not None:
                return step
        return -self._gradient
