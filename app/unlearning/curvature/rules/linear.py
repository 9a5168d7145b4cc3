"""Linear layers: ``linear``, and ``addmm`` and ``matmul`` with a weight stored transposed.

For a row with one position the gradient is an outer product, so the squares factor:
sum over rows of (g a)^2 = (G * G)^T (A * A), one product of the size of the weight gradient.
Several backward passes over the same input share it, because the squares of G add up first.
With a sequence axis the per-row gradient G_n^T A_n is a product of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder
from app.unlearning.curvature.rules.use import Factors, TrailingOffset, Use, rows_at_once

_LARGE = 1 << 15
"""Scalars of a weight from which on a product for one row is large enough for a call of its own."""


class OutputSquares:
    """Squared output gradients of a layer with one position per row, summed over passes.

    Shared by the weight and the bias of the layer.
    """

    def __init__(self, rows: int, outputs: int) -> None:
        """Prepare an empty sum of shape (rows, outputs)."""
        self._shape = (rows, outputs)
        self._passes = 0
        self._sum: Tensor | None = None

    def add(self, gradient: Tensor, passes: int) -> None:
        """Add the squares of a gradient, once even if both sharers bring it.

        Args:
            gradient: Gradient with respect to the layer's output.
            passes: Which backward pass this is for the sharer that brings it, from 1.
        """
        if passes > self._passes:
            self._passes = passes
            flat = gradient if gradient.dim() == 2 else gradient.reshape(self._shape)
            self._sum = flat * flat if self._sum is None else self._sum.addcmul_(flat, flat)

    def total(self) -> Tensor | None:
        """Return the sum, (rows, outputs); None if there was no pass."""
        return self._sum


class LinearWeight(Use):
    """The weight of a linear layer, stored (out, in), or (in, out) if ``transposed``."""

    def __init__(
        self,
        slot: int,
        inputs: Tensor,
        squares: OutputSquares,
        layout: tuple[int, int, int],
        *,
        transposed: bool,
    ) -> None:
        """Record the inputs.

        Args:
            slot: Which tracked parameter.
            inputs: (rows, ..., in), or (rows * positions, in) with the row as the slower index.
            squares: Where to put off products to, if rows have one position.
            layout: Rows, positions, output features.
            transposed: See the class.
        """
        super().__init__(slot)
        self._layout = layout
        self._factors = self.takes_several = layout[1] == 1
        # (rows, in) where rows have one position, (rows, positions, in) where they have several.
        shape = (layout[0], -1) if self._factors else (*layout[:2], -1)
        self._inputs = inputs.detach().reshape(shape)
        self._squares = squares
        self._passes = 0
        self._transposed = transposed

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Add up the squares of G, or multiply at once where rows have several positions."""
        if self._factors:
            self._passes += 1
            self._squares.add(gradient, self._passes)
        else:
            self.add_squares(gradient, total)

    def finish(self, total: Tensor) -> None:
        """Multiply the collected squares of G with the squares of A."""
        squares = self._squares.total() if self._factors else None
        if squares is not None:
            self._add_product(squares, total)

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row weight gradients to ``total``."""
        if self._factors:
            self._add_product(gradient.reshape(len(self._inputs), -1).square(), total)
            return
        rows = len(self._inputs)
        step = rows_at_once(rows, total)
        if step == 1 or (total.device.type == "cpu" and total.numel() >= _LARGE):
            self._add_row_after_row(gradient, total)
            return
        for start in range(0, rows, step):
            weights = self.row_gradients(gradient, start, start + step)
            total.add_(weights.square_().sum(0))

    def _add_row_after_row(self, gradient: Tensor, total: Tensor) -> None:
        """Reuse one buffer, which stays in the cache, for all rows."""
        left, right = self._split(gradient), self._by_position()
        if self._transposed:
            left, right = right, left
        weights = left.new_empty(total.shape)
        for outgoing, incoming in zip(left.transpose(1, 2), right, strict=True):
            torch.mm(outgoing, incoming, out=weights)
            total.addcmul_(weights, weights)

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the weight gradients of rows ``start`` to ``stop``."""
        left, right = self._split(gradient)[start:stop], self._by_position()[start:stop]
        if self._transposed:
            left, right = right, left
        return torch.bmm(left.transpose(1, 2), right)

    def add_row_gradients(self, gradient: Tensor, start: int, stop: int, into: Tensor) -> None:
        """Add the weight gradients of rows ``start`` to ``stop`` to ``into``."""
        left, right = self._split(gradient)[start:stop], self._by_position()[start:stop]
        if self._transposed:
            left, right = right, left
        into.baddbmm_(left.transpose(1, 2), right)

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few weights."""
        incoming, outgoing = self._ends(index)
        if self._factors:
            factors = self._inputs[:, incoming]
            return lambda gradient: self._split(gradient)[:, 0, outgoing] * factors
        units, unit = outgoing.unique(return_inverse=True)
        features_used, feature = incoming.unique(return_inverse=True)
        taken = self._inputs[:, :, features_used]

        def derivatives(gradient: Tensor) -> Tensor:
            pairs = torch.bmm(self._split(gradient)[:, :, units].transpose(1, 2), taken)
            return pairs[:, unit, feature]

        return derivatives

    def factors(self, index: Tensor) -> Factors | None:
        """Split each derivative into an input and an output gradient, if there is one position."""
        if not self._factors:
            return None
        return Factors(self._inputs, *self._ends(index))

    def _ends(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input and the output feature that each weight joins."""
        if self._transposed:
            return index // self._layout[2], index % self._layout[2]
        features = self._inputs.shape[-1]
        return index % features, index // features

    def _by_position(self) -> Tensor:
        """Return the inputs, (rows, positions, in)."""
        return self._inputs[:, None] if self._factors else self._inputs

    def _split(self, gradient: Tensor) -> Tensor:
        return gradient.reshape(self._layout)

    def _add_product(self, squares: Tensor, total: Tensor) -> None:
        inputs, squares = self._inputs.to(total.dtype), squares.to(total.dtype)
        inputs = inputs * inputs
        if self._transposed:
            total.addmm_(inputs.t(), squares)
        else:
            total.addmm_(squares.t(), inputs)


class LinearBias(TrailingOffset):
    """The bias of a linear layer with one position per row."""

    def __init__(self, slot: int, squares: OutputSquares, layout: tuple[int, int, int]) -> None:
        """Record where the squares are summed."""
        super().__init__(slot, layout[0], layout[2:])
        self._squares = squares
        self._passes = 0
        self.takes_several = True

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Add up the squares of G."""
        self._passes += 1
        self._squares.add(gradient, self._passes)

    def factors(self, index: Tensor) -> Factors | None:
        """Read each derivative off the output gradient."""
        return Factors(None, torch.zeros_like(index), index)

    def finish(self, total: Tensor) -> None:
        """Sum the collected squares over rows."""
        squares = self._squares.total()
        if squares is not None:
            total.add_(squares.sum(0))


def linear(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.linear``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    if kwargs:
        call = Arguments.bind(("input", "weight", "bias"), args, kwargs)
        args = (call["input"], call["weight"], call.get("bias"))
    bias = args[2] if len(args) > 2 else None
    return _affine(recorder, operation, args[0], args[1], bias, transposed=False)


def addmm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.addmm(bias, inputs, weight)``, the linear layer with a transposed weight.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    if len(args) != 3 or kwargs:
        return None
    bias, inputs, weight = args
    if recorder.slot(bias) is not None and bias.shape != weight.shape[1:]:
        return None
    return _affine(recorder, _addmm, inputs, weight, bias, transposed=True)


def matmul(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.matmul(inputs, weight)`` with a weight of two axes, and its synonyms.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    if len(args) != 2 or kwargs or args[1].dim() != 2:
        return None
    return _affine(recorder, _matmul, *args, None, transposed=True)


def _addmm(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.addmm(bias, inputs, weight)


def _matmul(inputs: Tensor, weight: Tensor, _: None) -> Tensor:
    return torch.matmul(inputs, weight)


def _affine(
    recorder: Recorder,
    operation: Operation,
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    transposed: bool,
) -> Tensor | None:
    weight_slot, bias_slot = recorder.slot(weight), recorder.slot(bias)
    if weight_slot is None and bias_slot is None:
        return None
    if recorder.slot(inputs) is not None:
        return None  # A product of parameters alone, which is one for all rows.
    rows = recorder.rows
    positions, rest = divmod(inputs.numel(), rows * inputs.shape[-1])
    if rest or inputs.dim() < 2:
        return None
    output: Tensor = operation(
        inputs,
        weight if weight_slot is None else weight.detach(),
        bias if bias is None or bias_slot is None else bias.detach(),
    )
    layout = (rows, positions, output.shape[-1])
    squares = OutputSquares(rows, layout[2])
    uses: list[Use] = []
    if weight_slot is not None:
        uses.append(LinearWeight(weight_slot, inputs, squares, layout, transposed=transposed))
    if bias_slot is not None:
        uses.append(
            LinearBias(bias_slot, squares, layout)
            if positions == 1
            else TrailingOffset(bias_slot, rows, layout[2:])
        )
    return recorder.tap(output, uses)
