"""A preconditioner that remembers the products of earlier solves.

Newton steps towards one optimum solve with matrices that change little. Where H took directions W
to A = H W before, the next solve need not find out again: with E = W^T A,

    P = W E^-1 W^T + (I - W E^-1 A^T) M (I - A E^-1 W^T)

inverts H on the span of W and leaves the rest to another preconditioner M. For the directions of
conjugate gradients this is the quasi-Newton preconditioner of Morales and Nocedal (2000).
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

_MOST = 48
"""Directions kept; the latest."""


class Recycling:
    """Directions, what a matrix made of them, and the preconditioner they give."""

    def __init__(self, base: Callable[[Tensor], Tensor]) -> None:
        """Start with nothing remembered.

        Args:
            base: M, symmetric and positive definite, from a vector (k,) to one.
        """
        self._base = base
        self._directions: deque[Tensor] = deque(maxlen=_MOST)
        self._images: deque[Tensor] = deque(maxlen=_MOST)
        self._current: Callable[[Tensor], Tensor] | None = None

    def remember(self, direction: Tensor, image: Tensor) -> None:
        """Take in one product with the matrix, (k,) each."""
        self._current = None
        length = direction.norm()
        self._directions.append(direction / length)
        self._images.append(image / length)

    def preconditioner(self) -> Callable[[Tensor], Tensor]:
        """Return P for what is remembered by now; M where that is nothing or of no use."""
        if self._current is None:
            self._current = self._latest()
        return self._current

    def _latest(self) -> Callable[[Tensor], Tensor]:
        while self._directions:
            directions = torch.stack(tuple(self._directions))
            images = torch.stack(tuple(self._images))
            heights = directions @ images.t()
            # The matrix changed between solves, so this is symmetric only almost.
            factor, failure = torch.linalg.cholesky_ex((heights + heights.t()) / 2)
            if not int(failure):
                return self._balanced(directions, images, factor)
            for _ in range((len(self._directions) + 1) // 2):
                self._directions.popleft()
                self._images.popleft()
        return self._base

    def _balanced(
        self, directions: Tensor, images: Tensor, factor: Tensor
    ) -> Callable[[Tensor], Tensor]:
        def spread(rows: Tensor, vector: Tensor) -> Tensor:
            return torch.cholesky_solve((rows @ vector)[:, None], factor)[:, 0]

        def apply(vector: Tensor) -> Tensor:
            shares = spread(directions, vector)
            rest = self._base(vector - shares @ images)
            return rest + (shares - spread(images, rest)) @ directions

        return apply
