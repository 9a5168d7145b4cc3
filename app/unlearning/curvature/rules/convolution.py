"""Convolutions in one and two dimensions, with groups, stride, dilation and padding.

The weight gradients of many rows come from one library call: rows become groups of one wide
convolution, whose weight gradient is then the stack of per-row weight gradients. At the sizes of
small networks this costs 1.0 to 2.4 times the weight gradient of the whole batch, where a loop
over rows costs 2.2 to 13 times and unfolding 1.8 to 8 times. When several backward passes follow
one forward pass, unfolding the input once for all of them is the faster way.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv1d_weight, conv2d_weight

from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder
from app.unlearning.curvature.rules.use import ChannelOffset, Use, rows_at_once

_BLOCK = 8
"""The CPU library has fast grouped kernels for input channels in eights: padding 3 or 6 channels
to 8 halves the time; a single channel has a kernel of its own."""

_COLLECTED = 1 << 22
"""Elements of output gradients a layer keeps to handle them together: 16 MiB of float32."""

_NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class ConvolutionWeight(Use):
    """The weight of a convolution, (out, in / groups, *kernel)."""

    def __init__(
        self,
        slot: int,
        inputs: Tensor,
        shape: torch.Size,
        *,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
    ) -> None:
        """Record the inputs, (rows, in, *space), and the geometry."""
        super().__init__(slot)
        self._inputs = inputs.detach()
        self._shape = shape
        self._stride, self._padding, self._dilation = stride, padding, dilation
        self._groups = groups
        self._collected: list[Tensor] = []
        self._pads = groups == 1 and shape[1] > 1 and inputs.device.type == "cpu"

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Collect gradients of several passes, as many as fit."""
        self._collected.append(gradient)
        if len(self._collected) * gradient.numel() >= _COLLECTED:
            self.finish(total)

    def finish(self, total: Tensor) -> None:
        """Handle the gradients collected so far."""
        if len(self._collected) > 1 and self._groups == 1:
            self._add_unfolded(self._collected, total)
        else:
            for gradient in self._collected:
                self.add_squares(gradient, total)
        self._collected = []

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row weight gradients to ``total``."""
        rows = len(self._inputs)
        step = rows_at_once(rows, total)
        for start in range(0, rows, step):
            weights = self.row_gradients(gradient, start, start + step)
            total.add_(weights.square_().sum(0))

    def _add_unfolded(self, gradients: list[Tensor], total: Tensor) -> None:
        """Multiply the unfolded input of each row with its gradients of all passes at once."""
        passes, outputs = len(gradients), self._shape[0]
        stacked = torch.stack(gradients, 1).flatten(3).flatten(1, 2)
        squares = total.new_zeros(passes * outputs, self._shape[1:].numel())
        step = rows_at_once(len(stacked), squares)
        for start in range(0, len(stacked), step):
            patches = self._unfold(self._inputs[start : start + step]).transpose(1, 2)
            if step == 1:
                weights = torch.mm(stacked[start], patches[0])
                squares.addcmul_(weights, weights)
            else:
                weights = torch.bmm(stacked[start : start + step], patches)
                squares.add_(weights.square_().sum(0))
        total.add_(squares.view(passes, *self._shape).sum(0))

    def _unfold(self, inputs: Tensor) -> Tensor:
        """Return (rows, in * kernel, positions)."""
        if inputs.dim() == 4:
            geometry = (self._dilation, self._padding, self._stride)
            return functional.unfold(inputs, tuple(self._shape[2:]), *geometry)
        flat = [(1, *self._dilation), (0, *self._padding), (1, *self._stride)]
        return functional.unfold(inputs[:, :, None], (1, *self._shape[2:]), *flat)

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the weight gradients of rows ``start`` to ``stop``."""
        inputs, outgoing = self._inputs[start:stop], gradient[start:stop]
        rows, channels = len(inputs), self._shape[1]
        extra = -channels % _BLOCK if self._pads else 0
        if extra:
            inputs = functional.pad(inputs, (0, 0) * (inputs.dim() - 2) + (0, extra))
        weight_gradient = conv2d_weight if len(self._shape) == 4 else conv1d_weight
        wide: Tensor = weight_gradient(
            inputs.reshape(1, -1, *inputs.shape[2:]),
            (rows * self._shape[0], channels + extra, *self._shape[2:]),
            outgoing.reshape(1, -1, *outgoing.shape[2:]),
            self._stride,
            self._padding,
            self._dilation,
            rows * self._groups,
        )
        return wide.view(rows, self._shape[0], channels + extra, *self._shape[2:])[:, :, :channels]

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few weights."""
        kernel = self._shape[1:].numel()
        outgoing, tap = index // kernel, index % kernel
        # The same tap of two groups reads different channels of the input.
        group = outgoing // (self._shape[0] // self._groups)
        channels, channel = outgoing.unique(return_inverse=True)
        taps, position = (group * kernel + tap).unique(return_inverse=True)
        patches = self._patches(taps)

        def derivatives(gradient: Tensor) -> Tensor:
            chosen = gradient.flatten(2)[:, channels]
            return torch.bmm(chosen, patches.transpose(1, 2))[:, channel, position]

        return derivatives

    def _patches(self, taps: Tensor) -> Tensor:
        """Return what the given kernel positions see: (rows, taps, output positions).

        Args:
            taps: Flat positions in (in, *kernel), channels counted over all groups.
        """
        sides = [side for size in reversed(self._padding) for side in (size, size)]
        padded = functional.pad(self._inputs, sides)
        space = padded.shape[2:]
        offset = torch.zeros_like(taps)
        start = torch.zeros(1, dtype=torch.long, device=taps.device)
        scale, rest = 1, taps
        for axis in reversed(range(len(space))):
            kernel, dilation = self._shape[2 + axis], self._dilation[axis]
            offset = offset + rest % kernel * dilation * scale
            rest = rest // kernel
            steps = (space[axis] - dilation * (kernel - 1) - 1) // self._stride[axis] + 1
            axis_start = torch.arange(steps, device=taps.device) * (self._stride[axis] * scale)
            start = (axis_start[:, None] + start).flatten()
            scale *= space[axis]
        offset = offset + rest * scale
        return padded.flatten(1)[:, offset[:, None] + start]


def convolution(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.conv1d`` and ``conv2d``.

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
    return ConvolutionWeight(
        slot,
        inputs,
        shape,
        stride=_per_axis(call.get("stride", 1), axes),
        padding=_per_axis(padding, axes),
        dilation=dilation,
        groups=call.get("groups", 1),
    )


def _per_axis(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) if len(value) == axes else tuple(value) * axes
