"""Conjugate gradients for several dampings at once, at the cost of one.

(A + damping D) x = b is, in the unknowns D^(1/2) x, a matrix plus a multiple of the identity. All
dampings then share one sequence of Krylov spaces, their residuals stay parallel, and every product
with A serves all of them (Frommer and Maass 1999; the recurrences are those of Jegerlehner 1996).
A D that resembles the diagonal of A makes it Marquardt's damping (1963) and Jacobi's preconditioner
in one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from app.unlearning.errors import NonFinite
from app.unlearning.solvers.conjugate_gradient import Solve


def damping_path(
    product: Callable[[Tensor], Tensor],
    right: Tensor,
    dampings: Sequence[float],
    metric: Tensor,
    *,
    tolerance: float = 1e-6,
    max_steps: int = 100,
) -> list[Solve]:
    """Solve (A + damping D) x = right for symmetric, positive semidefinite A and several dampings.

    Stops when every residual is below the tolerance, after ``max_steps``, or at a direction of
    curvature at most zero. It never raises for a solve that stopped early: its residual says so.

    Args:
        product: From a vector (k,) to A times it.
        right: (k,).
        dampings: At least one, >= 0.
        metric: D, (k,), all positive.
        tolerance: Relative residual at which to stop, in the norm of D^(-1).
        max_steps: Most products.

    Returns:
        One solve for each damping; the residuals are those of the recurrences, in the norm of
        D^(-1), and each counts all products.

    Raises:
        NonFinite: A product holds NaN or infinity.
    """
    root = metric.sqrt()
    residual = right / root
    scale = float(residual.norm())
    if scale == 0.0:
        return [Solve(torch.zeros_like(right), 0.0, 0) for _ in dampings]
    least = min(dampings)
    shifted = [_Shifted(damping - least, residual) for damping in dampings]
    direction = residual.clone()
    height = float(residual @ residual)
    before, ratio = -1.0, 0.0
    steps, indefinite = 0, False
    while steps < max_steps:
        image = product(direction / root) / root + least * direction
        if not bool(torch.isfinite(image).all()):
            raise NonFinite("product")
        steps += 1
        curvature = float(direction @ image)
        if not curvature > 0.0:
            indefinite = True
            break
        length = -height / curvature
        for system in shifted:
            system.move(length, before, ratio)
        residual = residual + length * image
        height, previous = float(residual @ residual), height
        before, ratio = length, height / previous
        if height**0.5 <= tolerance * scale:
            break
        direction = residual + ratio * direction
        for system in shifted:
            system.turn(residual, length, ratio)
    return [
        Solve(system.place / root, system.share * height**0.5 / scale, steps, indefinite)
        for system in shifted
    ]


# A residual this much smaller than the least damped one's is zero for every purpose.
_SETTLED = 1e-30


class _Shifted:
    """The system whose damping exceeds the least one by ``shift``.

    Attributes:
        place: Its solution so far.
        share: Its residual as a multiple of the least damped one; never above one.
    """

    def __init__(self, shift: float, residual: Tensor) -> None:
        self.place = torch.zeros_like(residual)
        self.share = 1.0
        self._shift = shift
        self._direction = residual.clone()
        self._share_before = 1.0
        self._length = 0.0

    def move(self, length: float, before: float, ratio: float) -> None:
        """Go as far as the least damped system goes ``length``, which went ``before`` last."""
        if self.share < _SETTLED:
            return
        old = self._share_before
        below = length * ratio * (old - self.share) + old * before * (1.0 - self._shift * length)
        after = self.share * old * before / below
        self._length = length * after / self.share
        self.place = self.place - self._length * self._direction
        self._share_before, self.share = self.share, after

    def turn(self, residual: Tensor, length: float, ratio: float) -> None:
        """Take the next direction."""
        if self.share < _SETTLED:
            return
        factor = ratio * self.share * self._length / (self._share_before * length)
        self._direction = self.share * residual + factor * self._direction
