"""Linear layers: ``linear``, and ``addmm`` with a weight stored transposed.

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
from app.unlearning.curvature.rules.use import ReducedUse, Use, rows_at_once


class LinearWeight(Use):
    """The weight of a linear layer, stored (out, in), or (in, out) if ``transposed``."""

    def __init__(
        self, slot: int, inputs: Tensor, rows: int, outputs: int, *, transposed: bool
    ) -> None:
        """Record the inputs.

        Args:
            slot: Which tracked parameter.
            inputs: (rows, ..., in), or (rows * positions, in) with the row as the slower index.
            rows: Rows of the batch.
            outputs: Output features.
            transposed: See the class.
        """
        super().__init__(slot, inputs)
        self._split_inputs = inputs.detach().reshape(rows, -1, inputs.shape[-1])
        self._outputs = outputs
        self._transposed = transposed
        self._squares: Tensor | None = None

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Add up the squares of G, or multiply at once where rows have several positions."""
        if not self._factors:
            self.add_squares(gradient, total)
            return
        flat = self._split(gradient)[:, 0]
        if self._squares is None:
            self._squares = flat.square()
        else:
            self._squares.addcmul_(flat, flat)

    def finish(self, total: Tensor) -> None:
        """Multiply the collected squares of G with the squares of A."""
        if self._squares is not None:
            self._add_product(self._squares, total)
            self._squares = None

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row weight gradients to ``total``."""
        if self._factors:
            self._add_product(self._split(gradient)[:, 0].square(), total)
            return
        rows = len(self._split_inputs)
        step = rows_at_once(rows, total.numel())
        for start in range(0, rows, step):
            weights = self.row_gradients(gradient, start, start + step)
            if step == 1:
                total.addcmul_(weights[0], weights[0])
            else:
                total.add_(weights.square_().sum(0))

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the weight gradients of rows ``start`` to ``stop``."""
        left, right = self._split(gradient)[start:stop], self._split_inputs[start:stop]
        if self._transposed:
            left, right = right, left
        return torch.bmm(left.transpose(1, 2), right)

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few weights."""
        if self._transposed:
            incoming, outgoing = index // self._outputs, index % self._outputs
        else:
            features = self._split_inputs.shape[2]
            outgoing, incoming = index // features, index % features
        if self._factors:
            factors = self._split_inputs[:, 0, incoming]
            return lambda gradient: self._split(gradient)[:, 0, outgoing] * factors
        units, unit = outgoing.unique(return_inverse=True)
        features_used, feature = incoming.unique(return_inverse=True)
        taken = self._split_inputs[:, :, features_used]

        def derivatives(gradient: Tensor) -> Tensor:
            pairs = torch.bmm(self._split(gradient)[:, :, units].transpose(1, 2), taken)
            return pairs[:, unit, feature]

        return derivatives

    @property
    def _factors(self) -> bool:
        return self._split_inputs.shape[1] == 1

    def _split(self, gradient: Tensor) -> Tensor:
        return gradient.reshape(*self._split_inputs.shape[:2], self._outputs)

    def _add_product(self, squares: Tensor, total: Tensor) -> None:
        inputs = self._split_inputs[:, 0].square()
        if self._transposed:
            total.addmm_(inputs.t(), squares)
        else:
            total.addmm_(squares.t(), inputs)


class TrailingOffset(ReducedUse):
    """A bias added along the last axes: of a linear layer or a layer norm."""

    def __init__(self, slot: int, rows: int, shape: tuple[int, ...]) -> None:
        """Record the number of rows and the shape of the bias."""
        super().__init__(slot)
        self._layout = (rows, -1, *shape)

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum over every axis between the row and the bias."""
        split = gradient.reshape(self._layout)
        return split[:, 0] if split.shape[1] == 1 else split.sum(1)


def linear(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.linear``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(("input", "weight", "bias"), args, kwargs)
    return _affine(recorder, operation, call, "input", "weight", "bias", transposed=False)


def addmm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.addmm(bias, inputs, weight)``, the linear layer with a transposed weight.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(("input", "mat1", "mat2"), args, kwargs)
    if set(call) - {"input", "mat1", "mat2"}:
        return None
    bias = call["input"]
    if recorder.slot(bias) is not None and bias.shape != call["mat2"].shape[1:]:
        return None
    return _affine(recorder, operation, call, "mat1", "mat2", "input", transposed=True)


def _affine(
    recorder: Recorder,
    operation: Operation,
    call: Arguments,
    inputs: str,
    weight: str,
    bias: str,
    *,
    transposed: bool,
) -> Tensor | None:
    features, rows = call[inputs], recorder.rows
    if features.dim() < 2 or features[..., 0].numel() % rows:
        return None
    weight_slot, bias_slot = call.slots(recorder, weight, bias)
    if weight_slot is None and bias_slot is None:
        return None
    output: Tensor = operation(**call)
    uses: list[Use] = []
    if weight_slot is not None:
        width = output.shape[-1]
        uses.append(LinearWeight(weight_slot, features, rows, width, transposed=transposed))
    if bias_slot is not None:
        uses.append(TrailingOffset(bias_slot, rows, call[bias].shape))
    return recorder.tap(output, uses)
