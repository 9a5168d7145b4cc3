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
)
from app.unlearning.errors import NotApplicable


class TrailingScale(ReducedUse):
    """A scale multiplied along the last axes, of a layer norm."""

    def __init__(self, slot: int, normalised: Tensor, shape: tuple[int, ...]) -> None:
        """Record the normalised input, (rows, ..., *shape)."""
        super().__init__(slot)
        self._normalised = normalised.detach()
        self._layout = (len(normalised), -1, *shape)

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum gradient times normalised input over every axis between the row and the scale."""
        return (gradient * self._normalised).reshape(self._layout).sum(1)


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
            sums, products = flat.sum(2), torch.einsum("rcl,rcl->rc", flat, inputs)
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
    scale, offset = call.pop("weight", None), call.pop("bias", None)
    normalised: Tensor = operation(**call)
    output = normalised if scale is None else normalised * scale
    output = output if offset is None else output + offset
    uses: list[Use] = []
    if weight is not None:
        uses.append(TrailingScale(weight, normalised, scale.shape))
    if bias is not None:
        uses.append(TrailingOffset(bias, recorder.rows, offset.shape))
    return recorder.tap(output, uses)


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
    output = _affine_per_channel(call, factor)
    uses: list[Use] = []
    if weight is not None:
        uses.append(ChannelScale(weight, call["input"], call["running_mean"], factor))
    if bias is not None:
        uses.append(ChannelOffset(bias))
    return recorder.tap(output, uses)


def _affine_per_channel(call: Arguments, factor: Tensor) -> Tensor:
    """Return input * scale + shift, whose backward pass is one product.

    The operation's own backward pass also computes what only the scale and the offset need.
    """
    inputs: Tensor = call["input"]
    scale = factor if call.get("weight") is None else factor * call["weight"]
    shift = -call["running_mean"] * scale
    if call.get("bias") is not None:
        shift = shift + call["bias"]
    along = (1, -1) + (1,) * (inputs.dim() - 2)
    return torch.addcmul(shift.to(inputs).view(along), inputs, scale.to(inputs).view(along))
