"""Preconditioned conjugate gradients (Hestenes and Stiefel 1952) on products with a matrix."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.errors import NonFinite


@dataclass(frozen=True)
class Solve:
    """Where a linear solve ended; the caller decides whether that is good enough.

    Attributes:
        solution: x, (k,).
        residual: Norm of (right - A x) divided by the norm of ``right``, from A x itself.
        steps: Products with A, the one for the residual included.
        indefinite: A direction of curvature at most zero was met, so A is not positive definite;
            the solution is the one before it.
    """

    solution: Tensor
    residual: float
    steps: int
    indefinite: bool = False


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 100,
    diagonal: Tensor | None = None,
    conditioner: Callable[[Tensor], Tensor] | None = None,
    verify: bool = True,
) -> Solve:
    """Solve A x = right for a symmetric positive definite A, from x = 0.

    Stops when the residual recurrence is below ``tolerance`` times the norm of ``right``, after
    ``max_steps``, or at a direction of curvature at most zero. It never raises for a solve that
    stopped early: the true residual says so.

    Args:
        product: From a vector (k,) to A times it.
        right: (k,).
        tolerance: Relative residual at which to stop.
        max_steps: Most products, not counting the one for the final residual.
        diagonal: Of A, or an estimate of it, (k,), all positive: the preconditioner (Jacobi).
        conditioner: Applies the inverse of some other preconditioner, symmetric and positive
            definite, in place of the diagonal.
        verify: Take the residual of the solution with one more product, not from the recurrence.

    Returns:
        The solution and how good it is.

    Raises:
        NonFinite: A product holds NaN or infinity.
    """
    scale = float(right.norm())
    solution = torch.zeros_like(right)
    if scale == 0.0:
        return Solve(solution, 0.0, 0)
    residual = right.clone()

    def condition(vector: Tensor) -> Tensor:
        if conditioner is not None:
            return conditioner(vector)
        return vector if diagonal is None else vector / diagonal

    conditioned = condition(residual)
    direction = conditioned.clone()
    height = residual @ conditioned
    steps, indefinite = 0, False
    while steps < max_steps:
        image = _finite(product(direction))
        steps += 1
        curvature = direction @ image
        if not float(curvature) > 0.0:
            indefinite = True
            break
        length = height / curvature
        solution += length * direction
        residual -= length * image
        if float(residual.norm()) <= tolerance * scale:
            break
        conditioned = condition(residual)
        height, previous = residual @ conditioned, height
        direction = conditioned + (height / previous) * direction
    if not verify:
        return Solve(solution, float(residual.norm()) / scale, steps, indefinite)
    # The recurrence drifts away from the truth in finite precision, so ask A once more.
    reached = float((right - _finite(product(solution))).norm()) / scale
    return Solve(solution, reached, steps + 1, indefinite)


def _finite(image: Tensor) -> Tensor:
    if not bool(torch.isfinite(image).all()):
        raise NonFinite("product")
    return image
