"""The losses of rows as functions of what a network returns for them, and along a line there.

Where the outputs are linear in the parameters, a step changes them by a multiple of one and the
same tensor. The objective along a step is then known without another look at the inputs.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from app.unlearning.objective import Objective


class Point:
    """The outputs of a batch.

    Attributes:
        outputs: (b, ..., C), float64.
    """

    def __init__(
        self, objective: Objective, outputs: Tensor, targets: Tensor, weights: Tensor | None
    ) -> None:
        """Look at a batch at some outputs.

        Args:
            objective: Its loss.
            outputs: (b, ..., C), float64.
            targets: Of the batch.
            weights: (b,), float64, or None for ones.
        """
        self.outputs = outputs
        self._objective, self._targets, self._weights = objective, targets, weights
        self._along_rows = (
            None if weights is None else weights.view(-1, *(1,) * (outputs.dim() - 1))
        )

    def at(self, outputs: Tensor) -> "Point":
        """Return the batch at other outputs, float64."""
        return Point(self._objective, outputs, self._targets, self._weights)

    def moved(self, change: Tensor) -> "Point":
        """Return the batch at outputs that have changed."""
        return self.at(self.outputs + change)

    def loss(self) -> float:
        """Return the weighted sum of the losses."""
        losses = self._objective.losses(self.outputs, self._targets)
        return float((losses if self._weights is None else losses * self._weights).sum())

    def slope(self) -> Tensor:
        """Return the gradient of the weighted sum with respect to the outputs, float64."""
        slope = self._objective.output_gradient(self.outputs, self._targets)
        return slope if self._along_rows is None else slope * self._along_rows

    def bend(self, direction: Tensor) -> Tensor:
        """Multiply the Hessian of the weighted sum by a direction, in the precision of that.

        Args:
            direction: (b, ..., C), float32 or float64.

        Returns:
            (b, ..., C).
        """
        dtype = direction.dtype
        if self._has_one_output:
            return direction * self._spreads[dtype]
        bent = self._objective.output_curvature_product(
            self._outputs_in[dtype], direction, self._targets
        )
        return bent if self._along_rows is None else bent * self._along_rows.to(dtype)

    def diagonal(self) -> Tensor:
        """Return the diagonal of the Hessian of the weighted sum, (b, ..., C), float32."""
        found = torch.zeros_like(self.outputs, dtype=torch.float32)
        for column in range(self.outputs.shape[-1]):
            unit = torch.zeros_like(found)
            unit[..., column] = 1.0
            found[..., column] = self.bend(unit)[..., column]
        return found

    def roots(self, rows: Tensor) -> Tensor:
        """Return the columns of a root of the Hessian of some rows' weighted losses, float64.

        Args:
            rows: Their positions, (m,).

        Returns:
            (m, columns, ..., C).
        """
        columns = self._objective.root_columns(self.outputs[rows], self._targets[rows])
        found = torch.stack(tuple(columns), 1)
        if self._weights is not None:
            found *= self._weights[rows].sqrt().view(-1, *(1,) * (found.dim() - 1))
        return found

    @property
    def _has_one_output(self) -> bool:
        return self.outputs.shape[1:] == (1,)

    @cached_property
    def _outputs_in(self) -> dict[torch.dtype, Tensor]:
        return {torch.float32: self.outputs.float(), torch.float64: self.outputs}

    @cached_property
    def _spreads(self) -> dict[torch.dtype, Tensor]:
        """Second derivatives in the only output of each row, times its weight."""
        spread = self._objective.output_curvature_product(
            self.outputs, torch.ones_like(self.outputs), self._targets
        )
        spread = spread if self._along_rows is None else spread * self._along_rows
        return {torch.float32: spread.float(), torch.float64: spread}


_STEEP = 0.1
"""Share of the slope at the start that may be left at the end of a step."""

_LOOKS = 10
_FURTHEST = 3.0


class Line:
    """A convex objective along a step that changes all outputs in proportion."""

    def __init__(
        self,
        points: Sequence[Point],
        changes: Sequence[Tensor],
        total: float,
        decay: tuple[float, float],
    ) -> None:
        """Start from some outputs.

        Args:
            points: Of each batch.
            changes: How the outputs of each batch change over the whole step.
            total: What sums over rows are divided by.
            decay: Slope at the start, and curvature, of what the objective has beside the losses.
        """
        self._points, self._changes, self._total, self._decay = points, changes, total, decay

    def outputs(self, length: float) -> list[Tensor]:
        """Return the outputs of each batch after a part of the step."""
        pairs = zip(self._points, self._changes, strict=True)
        return [point.outputs + length * change for point, change in pairs]

    def slope(self, length: float) -> float:
        """Return the derivative with respect to the part of the step, after such a part."""
        slope = self._decay[0] + length * self._decay[1]
        for point, change in zip(self._points, self._changes, strict=True):
            there = point.moved(length * change) if length else point
            slope += float((there.slope() * change).sum()) / self._total
        return slope

    def bend(self, length: float) -> float:
        """Return the second derivative after a part of the step."""
        bend = self._decay[1]
        for point, change in zip(self._points, self._changes, strict=True):
            there = point.moved(length * change) if length else point
            bend += float((there.bend(change) * change).sum()) / self._total
        return bend

    def length(self, first: float) -> float:
        """Return the part of the step, around 1, at which the objective is about least.

        The whole step is as good as another if the slope has all but gone at its end; otherwise
        Newton's method on the slope goes on from there.

        Args:
            first: The slope at the start.

        Returns:
            The part.
        """
        length = 1.0
        for _ in range(_LOOKS):
            slope = self.slope(length)
            if abs(slope) <= _STEEP * abs(first):
                break
            bend = self.bend(length)
            if not bend > 0:
                break
            length = min(max(length - slope / bend, length / _FURTHEST), length * _FURTHEST)
        return length
