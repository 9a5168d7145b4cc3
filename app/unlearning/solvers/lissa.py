"""Inverse-curvature products by the recursion LiSSA (Agarwal, Bullins and Hazan, JMLR 2017).

With a scale s above the largest eigenvalue, ``u <- v + (1 - damping / s) u - H_B u / s`` has the
fixed point ``u / s = (H + damping I)^-1 v``; H_B is the curvature on a batch drawn anew for each
step, so that a step costs a batch and not a pass. An eigenvalue h is resolved only after some
``s / (h + damping)`` steps: stopped earlier the result is a gradient step in disguise, which is why
the residual is taken with the whole curvature at the end and decides on its own whether the solve
has converged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Batches have larger eigenvalues than the mean over all rows, and power iteration stops below.
_MARGIN = 2.0
_POWER_STEPS = 20
# A recursion whose iterate grows beyond this many times its geometric bound has no fixed point.
_GROWTH = 1e3


@dataclass(frozen=True)
class Recursion:
    """Where the recursion ended.

    Attributes:
        solution: x, (k,); not finite if the recursion diverged.
        residual: Norm of ``right - (H + damping I) x`` divided by the norm of ``right``, with the
            whole H; infinite if the recursion diverged.
        converged: Whether ``residual`` is at most the tolerance asked for.
        scale: s.
        products: Products with H or H_B.
        batch_products: How many of them were with a batch.
    """

    solution: Tensor
    residual: float
    converged: bool
    scale: float
    products: int
    batch_products: int


def lissa(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    damping: float,
    tolerance: float,
    max_steps: int,
    batch_product: Callable[[Tensor], Tensor] | None = None,
    repetitions: int = 1,
    scale: float | None = None,
) -> Recursion:
    """Solve ``(H + damping I) x = right``; it never raises for a recursion that did not converge.

    Args:
        product: From (k,) to H times it, H positive semidefinite.
        right: (k,).
        damping: Added to the eigenvalues, >= 0.
        tolerance: Relative residual at which the solve counts as converged; without batches the
            recursion also ends there.
        max_steps: Most steps of each repetition.
        batch_product: From (k,) to H_B times it for a batch drawn at each call; None: ``product``.
        repetitions: Independent recursions whose results are averaged.
        scale: s; None: twice the largest eigenvalue that power iteration finds, plus the damping.

    Returns:
        The solution, and how good it is.
    """
    norm = float(right.norm())
    if norm == 0.0:
        return Recursion(torch.zeros_like(right), 0.0, True, scale or 1.0, 0, 0)
    products = 0
    if scale is None:
        scale = _MARGIN * _largest_eigenvalue(product, right) + damping
        products = _POWER_STEPS
    step = product if batch_product is None else batch_product
    # With whole products the change of u is the residual of u / s; with batches it is mostly noise.
    stop_at = tolerance * norm if batch_product is None else 0.0
    total = torch.zeros_like(right)
    steps = 0
    for _ in range(repetitions):
        found, made = _recur(step, right, damping / scale, scale, max_steps, stop_at)
        total += found / scale
        steps += made
    solution = total / repetitions
    residual = float("inf")
    if bool(torch.isfinite(solution).all()):
        apart = right - product(solution) - damping * solution
        residual = float(apart.norm()) / norm
        products += 1
    batches = 0 if batch_product is None else steps
    return Recursion(solution, residual, residual <= tolerance, scale, products + steps, batches)


def _recur(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    share: float,
    scale: float,
    max_steps: int,
    stop_at: float,
) -> tuple[Tensor, int]:
    """Return the last u and the number of steps; u is not finite if the recursion diverged."""
    u = right
    bound = _GROWTH * float(right.norm())
    for step in range(1, max_steps + 1):
        after = right + (1.0 - share) * u - product(u) / scale
        change = float((after - u).norm())
        u = after
        # A contraction adds at most the norm of v at every step.
        if not float(u.norm()) <= bound * (step + 1):
            return torch.full_like(right, float("nan")), step
        if change <= stop_at:
            return u, step
    return u, max_steps


def _largest_eigenvalue(product: Callable[[Tensor], Tensor], start: Tensor) -> float:
    """Estimate the largest eigenvalue from below by power iteration."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(start.shape, generator=generator, dtype=torch.float64)
    # The right side alone may be orthogonal to the leading direction.
    vector = start / start.norm() + (noise / noise.norm()).to(start)
    largest = 0.0
    for _ in range(_POWER_STEPS):
        vector = vector / vector.norm()
        image = product(vector)
        largest = max(largest, float(vector @ image), float(image.norm()))
        if not float(image.norm()) > 0.0:
            break
        vector = image
    return largest or 1.0
