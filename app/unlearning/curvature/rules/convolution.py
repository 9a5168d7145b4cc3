"""Convolutions in one to three dimensions, with groups, stride, dilation and padding.

The gradient of a weight for one row is a product of the row's output gradient with patches of its
input. Small kernels over large images are faster as they are: rows become groups of one wide
convolution, whose weight gradient is then the stack of per-row weight gradients, at 1.0 to 1.9
times the cost of the batch's weight gradient; a loop over rows costs 2 to 9 times as much. When
several backward passes follow one forward pass, the patches serve all of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv1d_weight, conv2d_weight

from app.unlearning.curvature.rules.patches import Geometry
from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder
from app.unlearning.curvature.rules.use import (
    CACHED_ELEMENTS,
    DEVICE_ELEMENTS,
    ChannelOffset,
    Use,
    rows_at_once,
)

_BLOCK = 8
"""The CPU library has fast grouped kernels for input channels in eights: padding 3 or 6 channels
to 8 halves the time."""

_WIDE = 1 << 14
"""Scalars of a weight below which rows as groups of one convolution are faster than patches."""

_WIDE_ELEMENTS = 1 << 20
"""Scalars of weight gradients that one wide convolution returns."""

_COLLECTED = 1 << 22
"""Elements of output gradients a layer keeps to handle them together: 16 MiB of float32."""

_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class ConvolutionWeight(Use):
    """The weight of a convolution, (out, in / groups, *kernel)."""

    def __init__(
        self, slot: int, inputs: Tensor, shape: torch.Size, geometry: Geometry, groups: int
    ) -> None:
        """Record the inputs, (rows, in, *space), and the geometry."""
        super().__init__(slot)
        self._inputs = inputs.detach()
        self._shape, self._geometry, self._groups = shape, geometry, groups
        self._collected: list[Tensor] = []

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Collect gradients of several passes, as many as fit."""
        self._collected.append(gradient)
        if len(self._collected) * gradient.numel() >= _COLLECTED:
            self.finish(total)

    def finish(self, total: Tensor) -> None:
        """Handle the gradients collected so far."""
        collected, self._collected = self._collected, []
        if len(collected) == 1 and self._is_wide(collected[0]):
            self.add_squares(collected[0], total)
        elif collected:
            self._add_products(collected, total)

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row weight gradients to ``total``."""
        if not self._is_wide(gradient):
            self._add_products([gradient], total)
            return
        rows = len(self._inputs)
        step = max(1, min(rows, _WIDE_ELEMENTS // total.numel()))
        for start in range(0, rows, step):
            weights = self._wide_gradients(gradient, start, start + step)
            total.add_(weights.square_().sum(0))

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the weight gradients of rows ``start`` to ``stop``."""
        if self._is_wide(gradient):
            return self._wide_gradients(gradient, start, stop)
        patches = self._geometry.by_channel(self._inputs[start:stop], self._groups)
        outgoing = gradient[start:stop].reshape(len(patches), -1, patches.shape[2])
        return torch.bmm(outgoing, patches.transpose(1, 2)).view(-1, *self._shape)

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few weights."""
        kernel = self._shape[1:].numel()
        outgoing, tap = index // kernel, index % kernel
        # The same tap of two groups reads different channels of the input.
        group = outgoing // (self._shape[0] // self._groups)
        channels, channel = outgoing.unique(return_inverse=True)
        taps, position = (group * kernel + tap).unique(return_inverse=True)
        patches = self._geometry.chosen(self._inputs, taps)

        def derivatives(gradient: Tensor) -> Tensor:
            chosen = gradient.flatten(2)[:, channels]
            return torch.bmm(chosen, patches.transpose(1, 2))[:, channel, position]

        return derivatives

    def _is_wide(self, gradient: Tensor) -> bool:
        """Say whether to make groups of rows: on a CPU, for small kernels that do overlap."""
        return (
            gradient.device.type == "cpu"
            and len(self._shape) <= 4
            and self._shape.numel() < _WIDE
            and self._shape[1] > 1
            and not self._geometry.is_pointwise
        )

    def _wide_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        inputs, outgoing = self._inputs[start:stop], gradient[start:stop]
        rows, channels = len(inputs), self._shape[1]
        extra = -channels % _BLOCK if self._groups == 1 else 0
        if extra:
            inputs = functional.pad(inputs, (0, 0) * (inputs.dim() - 2) + (0, extra))
        weight_gradient = conv2d_weight if len(self._shape) == 4 else conv1d_weight
        wide: Tensor = weight_gradient(
            inputs.reshape(1, -1, *inputs.shape[2:]),
            (rows * self._shape[0], channels + extra, *self._shape[2:]),
            outgoing.reshape(1, -1, *outgoing.shape[2:]),
            self._geometry.stride,
            self._geometry.padding,
            self._geometry.dilation,
            rows * self._groups,
        )
        return wide.view(rows, self._shape[0], channels + extra, *self._shape[2:])[:, :, :channels]

    def _add_products(self, gradients: list[Tensor], total: Tensor) -> None:
        """Multiply the patches of each row with its gradients of all passes at once."""
        rows, groups, passes = len(self._inputs), self._groups, len(gradients)
        stacked = gradients[0][:, None] if passes == 1 else torch.stack(gradients, 1)
        # (rows, groups, passes * outputs of the group, positions)
        outgoing = stacked.reshape(rows, passes, groups, self._shape[0] // groups, -1)
        outgoing = outgoing.transpose(1, 2).flatten(2, 3)
        squares = total.new_zeros(*outgoing.shape[1:3], self._shape[1:].numel())
        by_position = groups == 1 and self._shape[1] >= 4 * gradients[0].shape[-1]
        step = self._rows_together(squares, outgoing.shape[3])
        for start in range(0, rows, step):
            inputs = self._inputs[start : start + step]
            if by_position:
                patches = self._geometry.by_position(inputs)
            else:
                patches = self._geometry.by_channel(inputs, groups).transpose(1, 2)
            weights = torch.bmm(outgoing[start : start + step].flatten(0, 1), patches)
            squares.add_(weights.square_().view(-1, *squares.shape).sum(0))
        if by_position:
            squares = squares.view(1, -1, *self._geometry.kernel, self._shape[1]).movedim(-1, 2)
        squares = squares.reshape(groups, passes, -1, *self._shape[1:]).sum(1)
        total.add_(squares.view(self._shape))

    def _rows_together(self, squares: Tensor, positions: int) -> int:
        """Return for how many rows patches and products are formed at once."""
        patches = self._groups * squares.shape[2] * positions
        budget = CACHED_ELEMENTS if squares.device.type == "cpu" else DEVICE_ELEMENTS
        fitting = max(1, 2 * budget // max(1, patches))
        return min(fitting, rows_at_once(len(self._inputs), squares))


def convolution(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.conv1d``, ``conv2d`` and ``conv3d``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(_NAMES, args, kwargs)
    inputs: Tensor = call["input"]
    if inputs.dim() != call["weight"].dim() or len(inputs) != recorder.rows:
        return None
    weight, bias = call.slots(recorder, "weight", "bias")
    if weight is None and bias is None:
        return None
    output: Tensor = operation(**call)
    uses: list[Use] = []
    if weight is not None:
        uses.append(_weight_use(weight, call))
    if bias is not None:
        uses.append(ChannelOffset(bias))
    return recorder.tap(output, uses)


def _weight_use(slot: int, call: Arguments) -> ConvolutionWeight:
    inputs: Tensor = call["input"]
    shape: torch.Size = call["weight"].shape
    axes = len(shape) - 2
    dilation = _per_axis(call.get("dilation", 1), axes)
    padding = call.get("padding", 0)
    if padding == "valid":
        padding = 0
    elif padding == "same":
        spans = [step * (size - 1) for step, size in zip(dilation, shape[2:], strict=True)]
        padding = tuple(span // 2 for span in spans)
        # An even kernel needs one more on the far side, which only explicit padding can say.
        extra = [side for span in reversed(spans) for side in (0, span % 2)]
        inputs = functional.pad(inputs, extra) if any(extra) else inputs
    stride = _per_axis(call.get("stride", 1), axes)
    geometry = Geometry(tuple(shape[2:]), stride, _per_axis(padding, axes), dilation)
    return ConvolutionWeight(slot, inputs, shape, geometry, call.get("groups", 1))


def _per_axis(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) if len(value) == axes else tuple(value) * axes
