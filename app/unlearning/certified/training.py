"""The optimum of a strongly convex summed objective, by Newton's method in float64.

The optimum is one point wherever the search begins and whichever optimiser is used, so this is
retraining: nothing of the start is left but a gradient of known norm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.certified.summed_objective import SummedObjective
from app.unlearning.errors import NonFinite, NotConverged
from app.unlearning.problem import unreported
from app.unlearning.solvers.conjugate_gradient import conjugate_gradient

# Up to this many parameters the Hessian is kept as a matrix (32 MB in float64).
DENSE_LIMIT = 2048
_MAX_STEPS = 100
_HALVINGS = 40
_CG_STEPS = 1000
_CG_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Perturbed:
    """Where the search ended.

    Attributes:
        theta: The parameters, (outputs, features), float64.
        gradient_norm: Norm of the summed gradient there.
        steps: Newton steps.
    """

    theta: Tensor
    gradient_norm: float
    steps: int


def newton_direction(objective: SummedObjective, theta: Tensor, gradient: Tensor) -> Tensor:
    """Solve ``H d = -g`` at theta; exactly where the Hessian fits, else nearly.

    Args:
        objective: Whose Hessian; strongly convex.
        theta: Where.
        gradient: g, of the shape of theta.

    Returns:
        d, of the shape of theta.

    Raises:
        NonFinite: The Hessian is not finite.
    """
    if theta.numel() > DENSE_LIMIT:
        solve = conjugate_gradient(
            lambda v: objective.product(theta, v.view_as(theta)).flatten(),
            -gradient.flatten(),
            tolerance=_CG_TOLERANCE,
            max_steps=_CG_STEPS,
        )
        return solve.solution.view_as(theta)
    factor, failure = torch.linalg.cholesky_ex(objective.hessian(theta))
    if int(failure):
        raise NonFinite("hessian")
    return -torch.cholesky_solve(gradient.reshape(-1, 1), factor).view_as(theta)


def perturbed_optimum(
    objective: SummedObjective,
    start: Tensor,
    *,
    tolerance: float,
    progress: Callable[[float], None] = unreported,
) -> Perturbed:
    """Minimise a summed objective.

    Args:
        objective: The objective, its linear term included.
        start: Where to begin, (outputs, features), float64.
        tolerance: Norm of the mean gradient (the summed one over the rows) at which to stop.
        progress: Told the fraction done.

    Returns:
        The optimum to the tolerance.

    Raises:
        NotConverged: The tolerance was not reached.
        NonFinite: The Hessian is not finite.
    """
    wanted = tolerance * objective.count
    theta, steps = start, 0
    value, gradient = objective.value(theta), objective.gradient(theta)
    while not float(gradient.norm()) <= wanted and steps < _MAX_STEPS:
        direction = newton_direction(objective, theta, gradient)
        found = _backtrack(objective, theta, direction, value, gradient)
        if found is None:
            break
        theta, value, gradient = found
        steps += 1
        progress(min(1.0, steps / 20))
    norm = float(gradient.norm())
    if not norm <= wanted:
        raise NotConverged(norm / objective.count, tolerance)
    progress(1.0)
    return Perturbed(theta, norm, steps)


def _backtrack(
    objective: SummedObjective, theta: Tensor, step: Tensor, value: float, gradient: Tensor
) -> tuple[Tensor, float, Tensor] | None:
    """Halve the step until the objective falls enough, or, where it is flat, its gradient."""
    slope = float((gradient * step).sum())
    for halving in range(_HALVINGS):
        length = 0.5**halving
        point = theta + length * step
        reached = objective.value(point)
        flat = abs(reached - value) <= 1e-12 * abs(value)
        if not flat and not reached <= value + 1e-4 * length * slope:
            continue
        bent = objective.gradient(point)
        if not flat or float(bent.norm()) < float(gradient.norm()):
            return point, reached, bent
    return None
