"""Steps and what they changed in the gradient, as an inverse of the curvature (L-BFGS).

The two-loop recursion of Nocedal and Wright (2006, algorithm 7.4) on top of any first guess of the
inverse. Pairs of little or negative curvature are left out, which keeps it positive definite.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

_LEAST_CURVATURE = 1e-10


class SecantPairs:
    """The latest pairs."""

    def __init__(self, most: int) -> None:
        """Start with none.

        Args:
            most: Pairs kept.
        """
        self._pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=most)

    def __len__(self) -> int:
        """Return the number of pairs kept."""
        return len(self._pairs)

    def clear(self) -> None:
        """Forget all pairs."""
        self._pairs.clear()

    def remember(self, step: Tensor, change: Tensor) -> None:
        """Take in a step, (k,), and the change of the gradient over it."""
        curvature = float(step @ change)
        if curvature > _LEAST_CURVATURE * float(step.norm() * change.norm()):
            self._pairs.append((step, change, curvature))

    def applied(self, gradient: Tensor, base: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Multiply the inverse by a vector.

        Args:
            gradient: (k,).
            base: The first guess of the inverse, symmetric and positive definite; None for a
                multiple of the identity that fits the latest pair.

        Returns:
            (k,).
        """
        vector = gradient
        shares = []
        for step, change, curvature in reversed(self._pairs):
            share = float(step @ vector) / curvature
            vector = vector - share * change
            shares.append(share)
        vector = self._scaled(vector) if base is None else base(vector)
        for (step, change, curvature), share in zip(self._pairs, reversed(shares), strict=True):
            vector = vector + (share - float(change @ vector) / curvature) * step
        return vector

    def _scaled(self, vector: Tensor) -> Tensor:
        if not self._pairs:
            return vector
        _, change, curvature = self._pairs[-1]
        return vector * (curvature / float(torch.dot(change, change)))
