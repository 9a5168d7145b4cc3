"""Sum squared per-row gradients over a stream of batches.

Every diagonal of this package is such a sum: rows are back-propagated with one or several *seeds*
(gradients with respect to the outputs), and the squares of the resulting parameter gradients are
added up, row by row and seed by seed. Only the seeds differ.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from app.unlearning.curvature.accumulation import Accumulation
from app.unlearning.curvature.draws import Draws
from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.curvature.halving import is_out_of_memory
from app.unlearning.curvature.parameters import accumulators, trainable_parameters
from app.unlearning.curvature.row_by_row import (
    Difference,
    add_squared_row_gradients,
    random_seed,
)
from app.unlearning.curvature.signed_batches import add_squared_signed_gradients
from app.unlearning.curvature.tape import Tape

Seeds = Callable[[Tensor], Iterable[Tensor]]
"""From the outputs (b, ...) of a batch, detached, to tensors of their shape."""

Fallback = Literal["rows", "signs"]
"""How to do without rules: by single rows, exactly, or by random signs, at the cost of training."""

MOST_COMPARED = 2**22
"""Scalars of a parameter, and of a group of them, that are differentiated at once in the check."""


class SquaredGradients:
    """Accumulate sums of squared per-row gradients, by rules where they hold.

    The first batch is preceded by a check on two of its rows: what the rules give must equal what
    the rows give one at a time. It leaves out parameters of more than ``MOST_COMPARED`` scalars,
    since a gradient of one takes as much memory again. Every batch is checked for parameters that
    escaped the rules. If either check fails, this and all further batches are handled without
    rules: row by row, which is slow but exact, or by signed batch gradients, which cost no more
    than training but are an estimate.

    Attributes:
        totals: Parameter name to the sum so far.
        fallbacks: Why the rules were given up, one sentence each; empty if they hold.
    """

    def __init__(
        self,
        model: nn.Module,
        out: Mapping[str, Tensor] | None = None,
        fallback: Fallback = "rows",
    ) -> None:
        """Prepare sums for all trainable parameters of ``model``.

        Args:
            model: The network, which must be in eval mode while batches are added.
            out: Tensors to accumulate in, by parameter name, such as memory-mapped ones; they
                are zeroed. None allocates them.
            fallback: What to do without rules: single ``rows`` or random ``signs``.
        """
        named = trainable_parameters(model)
        self.totals = accumulators(named, out)
        self.fallbacks: tuple[str, ...] = ()
        self._run = partial(outputs_of, model)
        self._fallback = fallback
        self._names = tuple(named)
        self._parameters = tuple(named.values())
        self._sums = tuple(self.totals.values())
        self._rowless: dict[int, bool] = {}
        self._signs = Draws(0)
        self._checked_rows = 0
        self._is_empty = True

    @property
    def is_signed(self) -> bool:
        """Say whether the sums are estimates, for want of rules."""
        return bool(self.fallbacks) and self._fallback == "signs"

    def clear(self) -> None:
        """Begin anew with empty sums; what is known about the network remains known."""
        if not self._is_empty:
            for total in self._sums:
                total.zero_()
        self._is_empty = True

    def add(self, inputs: Tensor, seeds: Seeds) -> None:
        """Add the rows of one batch.

        Args:
            inputs: (b, ...).
            seeds: What to back-propagate, see the module.
        """
        if not self.fallbacks and self._checked_rows < min(2, len(inputs)):
            self.fallbacks = self._check(inputs[:2])
            self._checked_rows = min(2, len(inputs))
        self._is_empty = False
        if not self.fallbacks:
            self.fallbacks = self._add_by_rules(inputs, seeds, self._sums)
        if self.is_signed:
            add_squared_signed_gradients(
                self._run, self._parameters, inputs, seeds, self._sums, self._signs
            )
        elif self.fallbacks:
            with torch.no_grad():
                outputs = self._run(inputs)
            columns = list(seeds(outputs))
            add_squared_row_gradients(self._run, self._parameters, inputs, columns, self._sums)

    def _add_by_rules(
        self, inputs: Tensor, seeds: Seeds, sums: Sequence[Tensor]
    ) -> tuple[str, ...]:
        """Add one batch by rules, or say why that is impossible and add nothing."""
        tape = Tape(self._parameters, len(inputs), self._rowless)
        with tape:
            outputs = self._run(inputs.detach())
        escaped = tape.escaped(outputs)
        if escaped:
            return tuple(f"{self._names[slot]}: {what}" for slot, what in sorted(escaped.items()))
        Accumulation(tape, outputs, sums).add(seeds(outputs.detach()))
        return ()

    def _check(self, inputs: Tensor) -> tuple[str, ...]:
        """Compare the rules with single rows on a few rows and random seeds.

        Sums that are still empty serve the comparison, so that it needs no memory of their size.

        Raises:
            RuntimeError: Memory ran out.
        """
        seed = random_seed(self._run, inputs)
        is_first = self._checked_rows == 0
        found = self._sums if is_first else [torch.zeros_like(p) for p in self._parameters]
        try:
            escaped = self._add_by_rules(inputs, lambda _: [seed], found)
            return escaped or self._differing(inputs, seed, found)
        except (ValueError, IndexError) as error:
            return (_misfit(error),)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return (_misfit(error),)
        finally:
            for total in found:
                total.zero_()

    def _differing(self, inputs: Tensor, seed: Tensor, found: Sequence[Tensor]) -> tuple[str, ...]:
        """Say in which parameters single rows give something else; ``found`` is used up."""
        slots = [slot for slot, p in enumerate(self._parameters) if p.numel() <= MOST_COMPARED]
        differences: dict[int, Difference] = {}
        for group in _groups(slots, [p.numel() for p in self._parameters]):
            totals = [found[slot] for slot in group]
            largest = [_largest(total) for total in totals]
            chosen = [self._parameters[slot] for slot in group]
            add_squared_row_gradients(self._run, chosen, inputs, [seed], totals, factor=-1.0)
            for slot, total, size in zip(group, totals, largest, strict=True):
                precision = torch.finfo(total.dtype).eps
                differences[slot] = Difference(size, _largest(total.abs_()), precision)
        scale = max((difference.largest for difference in differences.values()), default=0.0)
        return tuple(
            f"{self._names[slot]}: rows cannot be told apart"
            for slot, difference in differences.items()
            if not difference.is_rounding(scale)
        )


def _misfit(error: Exception) -> str:
    return f"the rules do not fit the network: {type(error).__name__}"


def _largest(total: Tensor) -> float:
    return float(total.max()) if total.numel() else 0.0


def _groups(slots: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield the slots in groups of at most ``MOST_COMPARED`` scalars, or of one slot."""
    group: list[int] = []
    held = 0
    for slot in slots:
        if group and held + sizes[slot] > MOST_COMPARED:
            yield group
            group, held = [], 0
        group.append(slot)
        held += sizes[slot]
    if group:
        yield group
