"""Scales and offsets of layer norm, group norm and batch norm in eval mode.

All three are ``scale * normalised + offset`` with a normalised input that does not depend on scale
and offset. A batch norm that computes statistics of the batch couples the rows, so that a gradient
per row does not exist; it is refused.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.unlearning.curvature.rules.recorder import Arguments, Operation, Recorder
from app.unlearning.curvature.rules.use import (
    ChannelOffset,
    ReducedUse,
    TrailingOffset,
    Use,
    rows_at_once,
)
from app.unlearning.errors import NotApplicable


class TrailingScale(ReducedUse):
    """A scale multiplied along the last axes, of a layer norm or a root-mean-square norm.

    The normalised input is (input - mean) * factor, which is formed anew when it is needed: the
    input is kept by the operation itself anyway.
    """

    def __init__(
        self,
        slot: int,
        inputs: Tensor,
        shape: tuple[int, ...],
        *,
        factor: Tensor,
        mean: Tensor | None = None,
    ) -> None:
        """Record the input, (rows, ..., *shape), and what normalises it, (rows, ..., 1)."""
        super().__init__(slot)
        self._inputs, self._mean, self._factor = inputs.detach(), mean, factor
        self._layout = (len(inputs), -1, *shape)

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum gradient times normalised input over every axis between the row and the scale."""
        if self._mean is None:
            normalised = self._inputs * self._factor
        else:
            normalised = (self._inputs - self._mean).mul_(self._factor)
        return normalised.mul_(gradient).reshape(self._layout).sum(1)


class ChannelScale(ReducedUse):
    """A scale multiplied along axis 1, of a group norm or a batch norm.

    The normalised input is (input - shift) * factor per channel, for a batch norm, so it need not
    be stored: sum(g * normalised) = (sum(g * input) - shift * sum(g)) * factor.
    """

    def __init__(
        self, slot: int, inputs: Tensor, shift: Tensor | None = None, factor: Tensor | None = None
    ) -> None:
        """Record the input, (rows, channels, *space), with shift and factor, (channels,)."""
        super().__init__(slot)
        self._inputs = inputs.detach()
        self._shift, self._factor = shift, factor

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum gradient times normalised input over the spatial axes."""
        if gradient.dim() == 2:
            sums, products = gradient, gradient * self._inputs
        else:
            flat, inputs = gradient.flatten(2), self._inputs.flatten(2)
            step = rows_at_once(len(flat), flat[0])
            parts = zip(flat.split(step), inputs.split(step), strict=True)
            products = torch.cat([(ours * theirs).sum(2) for ours, theirs in parts])
            sums = flat.sum(2)
        if self._shift is not None:
            products = products - self._shift * sums
        return products if self._factor is None else products * self._factor


def layer_norm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.layer_norm``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    call = Arguments.bind(names, args, kwargs)
    if call["input"].dim() <= len(call["normalized_shape"]) or len(call["input"]) != recorder.rows:
        return None
    weight, bias = call.slots(recorder, "weight", "bias")
    if weight is None and bias is None:
        return None
    inputs, shape = call["input"], tuple(call["normalized_shape"])
    scale, offset = call.get("weight"), call.get("bias")
    output, mean, factor = torch.native_layer_norm(
        inputs, shape, scale, offset, call.get("eps", 1e-5)
    )
    uses: list[Use] = []
    if weight is not None:
        statistics = {"mean": mean.detach(), "factor": factor.detach()}
        uses.append(TrailingScale(weight, inputs, shape, **statistics))
    if bias is not None:
        uses.append(TrailingOffset(bias, recorder.rows, shape))
    return recorder.tap(output, uses)


def rms_norm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.rms_norm``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(("input", "normalized_shape", "weight", "eps"), args, kwargs)
    inputs, shape = call["input"], tuple(call["normalized_shape"])
    if inputs.dim() <= len(shape) or len(inputs) != recorder.rows:
        return None
    (weight,) = call.slots(recorder, "weight")
    if weight is None:
        return None
    floor = call.get("eps")
    floor = torch.finfo(inputs.dtype).eps if floor is None else floor
    axes = tuple(range(-len(shape), 0))
    factor = inputs.detach().square().mean(axes, keepdim=True).add_(floor).rsqrt_()
    use = TrailingScale(weight, inputs, shape, factor=factor)
    return recorder.tap(operation(**call), [use])


def group_norm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.group_norm``.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    call = Arguments.bind(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    if len(call["input"]) != recorder.rows:
        return None
    weight, bias = call.slots(recorder, "weight", "bias")
    if weight is None and bias is None:
        return None
    scale, offset = call.pop("weight", None), call.pop("bias", None)
    normalised: Tensor = operation(**call)
    along = (1, -1) + (1,) * (normalised.dim() - 2)
    output = normalised if scale is None else normalised * scale.view(along)
    output = output if offset is None else output + offset.view(along)
    uses: list[Use] = []
    if weight is not None:
        uses.append(ChannelScale(weight, normalised))
    if bias is not None:
        uses.append(ChannelOffset(bias))
    return recorder.tap(output, uses)


def batch_norm(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.nn.functional.batch_norm`` with running statistics.

    Returns:
        The output, or None if the operation is not for this rule.

    Raises:
        NotApplicable: The statistics are those of the batch, which couples its rows.
    """
    names = ("input", "running_mean", "running_var", "weight", "bias", "training")
    call = Arguments.bind((*names, "momentum", "eps"), args, kwargs)
    if call.get("training") or call.get("running_mean") is None:
        raise NotApplicable("batch norm without running statistics couples the rows of a batch")
    if len(call["input"]) != recorder.rows:
        return None
    weight, bias = call.slots(recorder, "weight", "bias")
    if weight is None and bias is None:
        return None
    factor = torch.rsqrt(call["running_var"] + call.get("eps", 1e-5))
    scale = factor if call.get("weight") is None else factor * call["weight"]
    output: Tensor = _FixedBatchNorm.apply(operation, call, call["input"], scale)
    uses: list[Use] = []
    if weight is not None:
        uses.append(ChannelScale(weight, call["input"], call["running_mean"], factor))
    if bias is not None:
        uses.append(ChannelOffset(bias))
    return recorder.tap(output, uses)


class _FixedBatchNorm(torch.autograd.Function):
    """Batch norm with fixed statistics, whose backward pass is one product.

    The operation's own backward pass also computes what only the scale and the offset need.
    """

    @staticmethod
    def forward(
        ctx: Any,  # torch gives the context no public type
        operation: Operation,
        call: Arguments,
        inputs: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """Run the operation."""
        ctx.scale = scale.to(inputs).view(1, -1, *(1,) * (inputs.dim() - 2))
        output: Tensor = operation(**{**call, "input": inputs})
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor, None]:
        """Scale the gradient as the input was scaled."""
        return None, None, gradients[0] * ctx.scale, None
