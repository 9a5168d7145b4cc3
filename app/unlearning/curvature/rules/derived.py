"""Parameters that are transformed before they are used: sliced, transposed, scaled by one another.

What a network computes from parameters alone, such as the first positions of a table of them, the
transpose of a tied weight or a direction times a length, is the same for every row. An operation
with a rule may consume it like a parameter; the gradient of a row with respect to it is pulled
back to the parameter by automatic differentiation, row by row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from app.unlearning.curvature.rules.use import Use, rows_at_once


class DerivedUse(Use):
    """A use of a tensor that was computed from parameters alone, on behalf of one of them."""

    def __init__(self, slot: int, parameter: Tensor, derived: Tensor, use: Use, rows: int) -> None:
        """Record the way from the parameter to what is used.

        Args:
            slot: Which tracked parameter.
            parameter: That parameter.
            derived: What was computed from it, still in its graph.
            use: How ``derived`` is used.
            rows: Rows of the batch.
        """
        super().__init__(slot)
        self._parameter, self._derived = parameter, derived
        self._use, self._rows = use, rows

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row parameter gradients to ``total``."""
        step = rows_at_once(self._rows, total)
        for start in range(0, self._rows, step):
            pulled = self.row_gradients(gradient, start, start + step)
            total.add_(pulled.square_().sum(0))

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the parameter gradients of rows ``start`` to ``stop``."""
        return torch.stack([
            torch.autograd.grad(self._derived, self._parameter, row, retain_graph=True)[0]
            for row in self._use.row_gradients(gradient, start, stop)
        ])

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few coordinates of the parameter."""

        def derivatives(gradient: Tensor) -> Tensor:
            rows = [
                self.row_gradients(gradient, row, row + 1).flatten()[index]
                for row in range(self._rows)
            ]
            return torch.stack(rows)

        return derivatives
