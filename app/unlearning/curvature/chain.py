"""Dense networks that are a single chain: linear layers with elementwise activations between them.

A chain needs no automatic differentiation. Its forward pass runs without a graph, and its backward
pass is one product per layer and one multiplication per activation, for all seeds together: nothing
is computed for the inputs of the first layer, and each weight takes one product with the squares of
its layer's inputs, however many seeds there are (see ``rules.linear``).

Whether a network is a chain is seen by watching its operations, not by looking at its modules:
every operation must take what the one before it returned, and the network must return what the last
one returned. Whatever passes by the watch, such as an autograd function of the network's own,
breaks the chain. The caller then turns to the tape, which knows all other networks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.unlearning.curvature.watch import Watch

_HELD = 2**21
"""Scalars of output gradients, of all layers and several seeds, that are handled together."""

_RELU = frozenset({functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_})
_ACTIVATIONS = frozenset({
    *(torch.tanh, Tensor.tanh, torch.sigmoid, Tensor.sigmoid, functional.gelu),
    *(functional.silu, functional.leaky_relu, functional.elu, functional.softplus),
})
_RESHAPING = frozenset({
    *(torch.flatten, Tensor.flatten, torch.squeeze, Tensor.squeeze),
    *(torch.unflatten, Tensor.unflatten, Tensor.unsqueeze, Tensor.reshape, Tensor.view),
})
_PLAIN = (bool, int, torch.Size, torch.dtype, torch.device)
"""What asking a tensor for its properties returns."""


@dataclass
class _Layer:
    """A linear layer: what it read, (rows, in), and the slots of its weight and bias, if tracked.

    ``squares``: (rows, out), squared output gradients summed over the seeds so far.
    """

    inputs: Tensor
    weight: Tensor
    weight_slot: int | None
    bias_slot: int | None
    squares: Tensor | None = None


@dataclass
class _Activation:
    """An elementwise function; ``slope`` returns its derivatives."""

    slope: Callable[[], Tensor]


@dataclass
class _Reshaping:
    """The same scalars in another shape; ``shape`` is that of the input."""

    shape: torch.Size


class Chain(Watch):
    """Record one forward pass of a network that may be a chain, and back-propagate through it."""

    def __init__(self, parameters: Sequence[Tensor], inputs: Tensor) -> None:
        """Begin with the inputs.

        Args:
            parameters: The tracked parameters; their positions are the slots.
            inputs: (rows, ...).
        """
        super().__init__()
        self._slots = {id(parameter): slot for slot, parameter in enumerate(parameters)}
        self._used: set[int] = set()
        self._is_whole, self._end = True, inputs
        self._steps: list[_Layer | _Activation | _Reshaping] = []
        self._width = 0

    def run(
        self, operation: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run one operation and see whether it continues the chain."""
        output = operation(*args, **kwargs)
        if self._is_whole and not isinstance(output, _PLAIN):
            self._is_whole = (
                isinstance(output, Tensor)
                and bool(args)
                and args[0] is self._end
                and self._continue(operation, args, kwargs, output)
            )
            self._end = output
        return output

    def covers(self, outputs: Tensor) -> bool:
        """Say whether the network is a chain and ``outputs`` its end."""
        return self._is_whole and outputs is self._end

    def add_squares(self, seeds: Iterable[Tensor], sums: Sequence[Tensor]) -> None:
        """Back-propagate every seed and add the squares of what reaches the parameters.

        What was recorded is used up.

        Args:
            seeds: Tensors of the shape of the outputs.
            sums: Where to add, by slot.
        """
        together = _stacked(seeds, max(1, _HELD // max(1, self._width)))
        gradients = next(together, None)
        while gradients is not None:
            # The seeds that follow come first: they tell whether these are the last.
            following = next(together, None)
            self._back_propagate(gradients, sums, is_last=following is None)
            gradients = following

    def _continue(
        self,
        operation: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> bool:
        """Record one step; say no if the operation is none."""
        inputs: Tensor = args[0]
        if operation is functional.linear:
            return not kwargs and self._add_layer(*args, output=output)
        if operation in _RELU:
            # The slope is zero where the output is, and elsewhere the output is positive.
            self._steps.append(_Activation(output.sign))
        elif operation in _ACTIVATIONS and output is not inputs:
            self._steps.append(_Activation(lambda: _slope(operation, args, kwargs)))
        elif operation in _RESHAPING and output.shape[:1] == inputs.shape[:1]:
            self._steps.append(_Reshaping(inputs.shape))
        else:
            return operation is functional.dropout and not _is_active(*args[1:], **kwargs)
        return True

    def _add_layer(
        self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None, *, output: Tensor
    ) -> bool:
        """Record a linear layer; say no if its parameters are shared, or are none."""
        given = [weight] if bias is None else [weight, bias]
        slots = {self._slots[id(p)] for p in given if id(p) in self._slots}
        is_shared = not self._used.isdisjoint(slots) or weight is bias
        if inputs.dim() != 2 or is_shared or not all(isinstance(p, nn.Parameter) for p in given):
            return False
        self._used |= slots
        self._width += output.numel()
        found = self._slots.get(id(weight)), self._slots.get(id(bias))
        self._steps.append(_Layer(inputs, weight.detach(), *found))
        return True

    def _back_propagate(self, gradients: Tensor, sums: Sequence[Tensor], *, is_last: bool) -> None:
        """Take in several seeds, (seeds, *outputs.shape), which are overwritten."""
        unread, position = len(self._used), len(self._steps)
        while unread:
            position -= 1
            step = self._steps[position]
            if is_last:
                self._steps.pop()
            if isinstance(step, _Reshaping):
                gradients = gradients.reshape(-1, *step.shape)
            elif isinstance(step, _Activation):
                gradients.mul_(step.slope())
            else:
                unread -= (step.weight_slot is not None) + (step.bias_slot is not None)
                squares = gradients
                if unread:
                    gradients = (squares.flatten(0, 1) @ step.weight).unflatten(
                        0, squares.shape[:2]
                    )
                _collect(step, squares.square_())
                del squares
                if is_last:
                    _finish(step, sums)


def _collect(layer: _Layer, squares: Tensor) -> None:
    """Sum squares over seeds, (seeds, rows, out)."""
    total = squares[0] if len(squares) == 1 else squares.sum(0)
    layer.squares = total if layer.squares is None else layer.squares.add_(total)


def _finish(layer: _Layer, sums: Sequence[Tensor]) -> None:
    """Add the squares of a layer to the sums of its parameters."""
    if layer.squares is None:
        return
    if layer.weight_slot is not None:
        total = sums[layer.weight_slot]
        squares, inputs = layer.squares.to(total.dtype), layer.inputs.to(total.dtype)
        total.addmm_(squares.t(), inputs * inputs)
    if layer.bias_slot is not None:
        sums[layer.bias_slot].add_(layer.squares.sum(0))


def _slope(
    operation: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    """Return the derivatives of an elementwise operation at its input, ``args[0]``."""
    with torch.enable_grad():
        point = args[0].detach().requires_grad_()
        slopes: tuple[Tensor, ...] = torch.autograd.grad(
            operation(point, *args[1:], **kwargs).sum(), point
        )
    return slopes[0]


def _is_active(p: float = 0.5, training: bool = True, inplace: bool = False) -> bool:
    """Say whether dropout, called like this, drops anything."""
    del inplace
    return training and p > 0.0


def _stacked(seeds: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Yield copies of up to ``size`` seeds at a time, (seeds, ...)."""
    remaining = iter(seeds)
    while together := list(islice(remaining, size)):
        yield torch.stack(together)
