"""Bounds on what a step leaves of the gradient of the edited objective.

For a step d from theta the gradient at theta + d is

    g + H d + integral over t in [0, 1] of (H(theta + t d) - H(theta)) d.

The first two terms are the residual of the linear solve; with the step as it is published, rounded
to the network's dtype, they hold the rounding too. In the third, row i adds at most
``twist t |X_i d|^2 |x_i|``, so its norm is at most ``twist / 2`` times the spectral norm of the
features times the norm of the vector of squared output changes: the *data-dependent* bound. Guo et
al. (ICML 2020, Corollary 1) have twice this or more, for one output and rows of norm one.

With ``|X_i d| <= R |d|`` and ``|d| <= |g| / (weight_decay n)`` it becomes the *worst-case* bound,
which needs no pass over the rows; for one row of norm one it is half of theirs (Theorem 1), whose
proof does not use that the integral takes t.
"""

import math

from torch import Tensor

from app.unlearning.certified.summed_objective import SummedObjective
from app.unlearning.rows import Rows

# Sums over rows in float64 are good to some 1e-14 of what they add up; a bound leaves room for it.
_ARITHMETIC = 1e-12


def remainder(after: SummedObjective, step: Tensor) -> float:
    """The data-dependent bound on the third term.

    Args:
        after: The objective of the edited data.
        step: d, (outputs, features).

    Returns:
        A norm in the units of a summed gradient; zero for a quadratic loss.
    """
    twist = after.constants(len(step)).twist
    if twist == 0:
        return 0.0
    fourth = sum(
        float(change.square().sum(1).square().sum()) for change in after.output_changes(step)
    )
    return 0.5 * twist * after.norms[1] * math.sqrt(fourth)


def worst_case(
    after: SummedObjective,
    theta: Tensor,
    *,
    before: int,
    changed: Rows,
    radius: float,
    away: float = 0.0,
) -> float:
    """The bound on the third term of a Newton step, from constants alone.

    Args:
        after: The objective of the edited data.
        theta: Where the step begins; an optimum of the objective on the data before.
        before: Rows before the edit.
        changed: Rows as they were and as they are now, of the linear layer.
        radius: Largest norm of a row's features, in any of these data.
        away: Distance of the step from the exact one.

    Returns:
        A norm in the units of a summed gradient; infinite for a loss whose gradient has no bound.
    """
    constants = after.constants(len(theta))
    if constants.twist == 0:
        return 0.0
    if constants.slope is None:
        return float("inf")
    decay = after.objective.weight_decay
    moved = abs(before - after.count) * decay * float(theta.norm())
    moved += len(changed) * constants.slope * radius
    length = moved / (decay * after.count) + away
    return 0.5 * constants.twist * after.count * radius**3 * length**2


def unsolved(after: SummedObjective, origin: Tensor, gradient: Tensor, step: Tensor) -> float:
    """The first two terms: what the linear solve, and rounding its result, have left.

    Args:
        after: The objective of the edited data.
        origin: Where the step begins.
        gradient: g there.
        step: d, as it is published.

    Returns:
        The norm of ``g + H d``, with room for the sums it was computed from.
    """
    size = float(gradient.norm()) + after.decay * float(origin.norm())
    if after.linear is not None:
        size += float(after.linear.norm())
    return float((gradient + after.product(origin, step)).norm()) + _ARITHMETIC * size
