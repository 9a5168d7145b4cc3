"""Derivatives that are products of an input and an output gradient of a layer.

The coordinates are sorted by *unit*, the scalar of the output gradients that they are multiples of:
the weights into one neuron and its bias share a unit.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from app.unlearning.curvature.rules.use import Factors, Use
from app.unlearning.curvature.tape import Tape


class Products:
    """The derivatives of one recorded pass, all of them products.

    Attributes:
        order: (|S|,) the positions on S in the order used here: sorted by unit.
        units: (|S|,) the unit of each of them, ascending.
        fixed: (|S|, rows), the inputs, the same for every backward pass.
        count: Distinct units.
    """

    def __init__(self, tape: Tape, outputs: Tensor, factors: Mapping[Use, Factors]) -> None:
        """Sort the coordinates; each parameter has one use."""
        self._tape, self._outputs = tape, outputs
        self._taken: dict[Use, tuple[Tensor, int]] = {}
        places = _places(factors)
        order, units, fixed = [], [], []
        self.count = 0
        for uses in tape.operations:
            found = [factors[use] for use in uses]
            taken, unit = torch.cat([f.outgoing for f in found]).unique(return_inverse=True)
            unit, here = unit.sort(stable=True)
            order.append(torch.cat([places[use] for use in uses])[here])
            units.append(unit + self.count)
            inputs, incoming = _inputs_of(found, outputs)
            fixed.append(inputs.index_select(0, incoming[here]))
            self._taken[uses[0]] = taken, self.count
            self.count += len(taken)
        self.order, self.units, self.fixed = torch.cat(order), torch.cat(units), torch.cat(fixed)

    def is_cheaper(self, seeds: int) -> bool:
        """Compare multiplying unit by unit with gathering a matrix for each of ``seeds`` seeds.

        By the scalars that one row makes either way touch, and the products it takes.
        """
        size = len(self.units)
        # A library's matrix product makes some 16 multiplications in the time of one loose one.
        by_units = self.count * (size + seeds * self.count) / 2 + size * size / 32
        return by_units < seeds * (2 * size + size * size / 32)

    def gradients(self, seeds: Sequence[Tensor]) -> Tensor:
        """Return the output gradients of the units, (seeds, units, rows)."""
        found = self.fixed.new_zeros(len(seeds), self.count, self.fixed.shape[1])
        for into, seed in zip(found, seeds, strict=True):
            self._tape.backward(self._outputs, seed, partial(self._write, into), keep=True)
        return found

    def _write(self, into: Tensor, uses: Sequence[Use], gradient: Tensor) -> None:
        taken, start = self._taken[uses[0]]
        flat = gradient.reshape(len(gradient), -1).t()
        torch.index_select(flat, 0, taken, out=into[start : start + len(taken)])


def product_reader(factors: Factors) -> Callable[[Tensor], Tensor]:
    """Prepare to read derivatives, (k, rows), off an output gradient."""
    taken, unit = factors.outgoing.unique(return_inverse=True)
    inputs = factors.inputs
    fixed = None if inputs is None else _rows_of(inputs, factors.incoming)

    def read(gradient: Tensor) -> Tensor:
        # In two steps, so that most derivatives are one stretch to copy.
        chosen = gradient.reshape(len(gradient), -1).t().index_select(0, taken)
        wide = chosen.index_select(0, unit)
        return wide if fixed is None else wide.mul_(fixed)

    return read


def _places(factors: Mapping[Use, Factors]) -> dict[Use, Tensor]:
    """Number the coordinates on S, parameter by parameter."""
    ordered = sorted(factors, key=lambda use: use.slot)
    sizes = [len(factors[use].outgoing) for use in ordered]
    device = factors[ordered[0]].outgoing.device
    return dict(zip(ordered, torch.arange(sum(sizes), device=device).split(sizes), strict=True))


def _inputs_of(found: Sequence[Factors], outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Stack the inputs that the uses of one operation need.

    Returns:
        (features, rows), and the feature of each coordinate.
    """
    parts, incoming, count = [], [], 0
    for factors in found:
        if factors.inputs is None:
            parts.append(outputs.new_ones(1, len(outputs)).detach())
            incoming.append(torch.full_like(factors.outgoing, count))
        else:
            taken, feature = factors.incoming.unique(return_inverse=True)
            parts.append(factors.inputs.t().index_select(0, taken))
            incoming.append(feature + count)
        count += len(parts[-1])
    return torch.cat(parts), torch.cat(incoming)


def _rows_of(inputs: Tensor, incoming: Tensor) -> Tensor:
    taken, feature = incoming.unique(return_inverse=True)
    return inputs.t().index_select(0, taken).index_select(0, feature)
