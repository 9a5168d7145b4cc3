"""Derivatives of a network's outputs with respect to a few selected coordinates, row by row.

A pass that back-propagates a column of a root of the output Hessian sees the input A and the output
gradient G of every layer. One derivative is one product of an entry of A with an entry of G (linear
layers with one position per row) or a short sum of such products (convolutions, sequences).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call

from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.curvature.row_by_row import agree, require_independent_rows, row_gradients
from app.unlearning.curvature.rules.use import Factors, Use
from app.unlearning.curvature.tape import Known, Tape
from app.unlearning.errors import NotApplicable
from app.unlearning.selection.selection import Selection
from app.unlearning.solvers.products import Products, product_reader

_CHECKED = 2
"""Rows on which the rules are compared with single rows."""


class SelectedJacobian:
    """Records forward passes with respect to the parameters that hold selected coordinates.

    Attributes:
        size: |S|.
        is_mixed: The rules were given up after batches that they seemed to cover: what the network
            does depends on its rows, and nothing read off so far is to be trusted.
        width: Scalars at the outputs of the recorded operations for one row, once the network has
            been checked: a measure of memory.
    """

    def __init__(
        self, model: nn.Module, selection: Selection, replaced: Mapping[str, Tensor]
    ) -> None:
        """Prepare.

        Args:
            model: The network, in eval mode.
            selection: S, without parameters in which nothing is selected.
            replaced: Values to use instead of the network's own.

        Raises:
            NotApplicable: The selection names something that is no trainable parameter.
        """
        own = {name: p for name, p in model.named_parameters() if p.requires_grad}
        unknown = selection.masks.keys() - own.keys()
        if unknown:
            raise NotApplicable(f"not a trainable parameter of the network: {min(unknown)}")
        # Leaves of their own: only the selected ones take part in the backward pass, which ends
        # where they do.
        self._values = {
            name: replaced.get(name, p).detach().requires_grad_(name in selection.masks)
            for name, p in own.items()
        }
        self._model = model
        self._tracked = [self._values[name] for name in selection.masks]
        self._index = [mask.flatten().nonzero()[:, 0] for mask in selection.masks.values()]
        self._known = Known()
        self._by_rules = True
        self._checked_rows = 0
        self._recorded = 0
        self.size = sum(len(index) for index in self._index)
        self.width, self.is_mixed = 0, False

    def record(self, inputs: Tensor) -> "Recording | None":
        """Run the network on a batch.

        Returns:
            What the rules read off it; None if they do not cover this network.
        """
        self.check(inputs)
        recording = self._record(inputs) if self._by_rules else None
        if recording is not None and recording.is_complete:
            self._recorded += 1
            return recording
        self.is_mixed, self._by_rules = self._recorded > 0, False
        return None

    def check(self, inputs: Tensor) -> None:
        """See whether the rules cover the network, unless that is known; two rows suffice.

        Raises:
            NotApplicable: The rows cannot be handled one at a time either.
        """
        if self._by_rules and self._checked_rows < min(_CHECKED, len(inputs)):
            self._by_rules = self._rules_hold(inputs[:_CHECKED])
            if not self._by_rules:
                require_independent_rows(self.run, inputs[:_CHECKED])
            self._checked_rows = min(_CHECKED, len(inputs))

    def row_by_row(self, inputs: Tensor, seeds: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield, for each row and each seed, one column of J_S transposed, (|S|, 1)."""
        for gradients in row_gradients(self.run, self._tracked, inputs, seeds):
            parts = [
                tracked.new_zeros(len(index)) if gradient is None else gradient.flatten()[index]
                for tracked, index, gradient in zip(
                    self._tracked, self._index, gradients, strict=True
                )
            ]
            yield torch.cat(parts)[:, None]

    def run(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs."""
        return outputs_of(lambda rows: functional_call(self._model, self._values, (rows,)), inputs)

    def _record(self, inputs: Tensor) -> "Recording":
        tape = Tape(self._tracked, inputs, self._known)
        with tape:
            outputs = self.run(inputs)
        self.width = tape.tapped_scalars // max(1, len(inputs))
        return Recording(tape, outputs, self._index)

    def _rules_hold(self, inputs: Tensor) -> bool:
        """Compare the rules with single rows, as the diagonals do."""
        try:
            recording = self._record(inputs)
            seed = _random_like(recording.outputs)
            found = recording.columns(seed) if recording.is_complete else None
        except (RuntimeError, ValueError, IndexError):
            return False
        if found is None:
            return False
        expected = torch.cat(list(self.row_by_row(inputs, [seed])), 1)
        return agree(found, expected, float(expected.abs().max()))


class Recording:
    """One forward pass over a batch, to be back-propagated any number of times.

    Attributes:
        outputs: What the network returned.
        is_complete: Whether every use of a selected parameter was seen.
    """

    def __init__(self, tape: Tape, outputs: Tensor, index: Sequence[Tensor]) -> None:
        """Keep a recorded pass and the positions selected in each tracked parameter."""
        self.outputs = outputs
        self.is_complete = not tape.escaped(outputs)
        self._tape, self._index = tape, index

    def columns(self, seed: Tensor) -> Tensor:
        """Return J_S transposed for one seed, (|S|, rows)."""
        found: dict[int, Tensor] = {}

        def receive(uses: Sequence[Use], gradient: Tensor) -> None:
            for use in uses:
                part = self._readers[use](gradient)
                # A tied parameter collects from every use.
                found[use.slot] = found[use.slot] + part if use.slot in found else part

        self._tape.backward(self.outputs, seed, receive, keep=True)
        return torch.cat([
            found[slot] if slot in found else seed.new_zeros(len(index), len(seed))
            for slot, index in enumerate(self._index)
        ])

    @cached_property
    def products(self) -> Products | None:
        """The derivatives as products; None unless each of them is one."""
        uses = self._tape.uses
        # Each parameter must have one use: neither several nor none.
        if sorted(use.slot for use in uses) != list(range(len(self._index))):
            return None
        factors = {use: found for use, found in self._factors.items() if found is not None}
        return Products(self._tape, self.outputs, factors) if len(factors) == len(uses) else None

    @cached_property
    def _factors(self) -> dict[Use, Factors | None]:
        return {use: use.factors(self._index[use.slot]) for use in self._tape.uses}

    @cached_property
    def _readers(self) -> dict[Use, Callable[[Tensor], Tensor]]:
        return {
            use: _sum_reader(use, self._index[use.slot])
            if factors is None
            else product_reader(factors)
            for use, factors in self._factors.items()
        }


def _sum_reader(use: Use, index: Tensor) -> Callable[[Tensor], Tensor]:
    read = use.columns(index)
    return lambda gradient: read(gradient).t()


def _random_like(outputs: Tensor) -> Tensor:
    """A fixed random tensor of the shape of the outputs, for comparing two ways."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs.shape, generator=generator).to(outputs)
