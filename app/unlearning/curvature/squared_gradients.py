"""Sum squared per-row gradients over a stream of batches.

Every diagonal of this package is such a sum: rows are back-propagated with one or several *seeds*
(gradients with respect to the outputs), and the squares of the resulting parameter gradients are
added up, row by row and seed by seed. Only the seeds differ.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from app.unlearning.curvature.accumulation import Accumulation
from app.unlearning.curvature.chain import Chain
from app.unlearning.curvature.draws import Draws
from app.unlearning.curvature.evaluation import outputs_of
from app.unlearning.curvature.halving import is_out_of_memory
from app.unlearning.curvature.parameters import accumulators, trainable_parameters
from app.unlearning.curvature.row_by_row import (
    Difference,
    add_squared_row_gradients,
    random_seed,
    require_independent_rows,
    row_gradients,
)
from app.unlearning.curvature.signed_batches import add_squared_signed_gradients
from app.unlearning.curvature.tape import Known, Tape

Seeds = Callable[[Tensor], Iterable[Tensor]]
"""From the outputs (b, ...) of a batch, detached, to tensors of their shape."""

Fallback = Literal["rows", "signs"]
"""How to do without rules: by single rows, exactly, or by random signs, at the cost of training."""

MOST_COMPARED = 2**22
"""Scalars of parameters that are differentiated at once in the check; a larger one is alone."""

_SIGNS = 0x516_7ED_BA7C_4ED
"""Seed of the signs of batches: none that a caller would choose for the draws of an estimate, which
must be independent of them."""

_SAMPLE = 2**12
"""About as many scalars of each parameter are compared in the check, at even distances."""


class SquaredGradients:
    """Accumulate sums of squared per-row gradients, by rules where they hold.

    The first batch is preceded by a check on two of its rows: what the rules give must equal what
    the rows give one at a time, at scalars spread over every parameter. It comes before the sums
    are allocated, so that memory holds either them or the gradients of a row. Every batch is
    checked for parameters that escaped the rules. If either check fails, this and all further
    batches are handled without rules: row by row, which is slow but exact, or by signed batch
    gradients, which cost no more than training but are an estimate.

    Attributes:
        fallbacks: Why the rules were given up, one sentence each; empty if they hold.
        is_mixed: They were given up after batches that they seemed to hold for. What a network does
            then depends on its rows, and the sums so far are not to be trusted.
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
        self._named = trainable_parameters(model)
        self._totals = None if out is None else accumulators(self._named, out)
        self.fallbacks: tuple[str, ...] = ()
        self._run = partial(outputs_of, model)
        self._fallback = fallback
        self._names = tuple(self._named)
        self._parameters = tuple(self._named.values())
        self._known = Known()
        self._is_chain = True
        self._signs = Draws(_SIGNS)
        self._checked_rows = 0
        self._is_empty, self.is_mixed = True, False

    @property
    def totals(self) -> dict[str, Tensor]:
        """Parameter name to the sum so far."""
        if self._totals is None:
            self._totals = accumulators(self._named, None)
        return self._totals

    @property
    def is_signed(self) -> bool:
        """Say whether the sums are estimates, for want of rules."""
        return bool(self.fallbacks) and self._fallback == "signs"

    def clear(self) -> None:
        """Begin anew with empty sums; what is known about the network remains known."""
        if not self._is_empty:
            for total in self.totals.values():
                total.zero_()
        self._is_empty, self.is_mixed = True, False
        self._signs = Draws(_SIGNS)

    def add(self, inputs: Tensor, seeds: Seeds) -> None:
        """Add the rows of one batch.

        Args:
            inputs: (b, ...).
            seeds: What to back-propagate, see the module.
        """
        if not self.fallbacks and self._checked_rows < min(2, len(inputs)):
            self.fallbacks = self._check(inputs[:2])
            self._checked_rows = min(2, len(inputs))
        is_first, self._is_empty = self._is_empty, False
        sums = tuple(self.totals.values())
        if not self.fallbacks:
            self.fallbacks = self._add_by_rules(inputs, seeds, sums)
            self.is_mixed = bool(self.fallbacks) and not is_first
        if self.is_signed:
            add_squared_signed_gradients(
                self._run, self._parameters, inputs, seeds, sums, self._signs
            )
        elif self.fallbacks:
            with torch.no_grad():
                outputs = self._run(inputs)
            columns = list(seeds(outputs))
            add_squared_row_gradients(self._run, self._parameters, inputs, columns, sums)

    def _add_by_rules(
        self, inputs: Tensor, seeds: Seeds, sums: Sequence[Tensor]
    ) -> tuple[str, ...]:
        """Add one batch by rules, or say why that is impossible and add nothing."""
        if self._is_chain:
            chain = Chain(self._parameters, inputs)
            with torch.no_grad(), chain:
                outputs = self._run(inputs)
            self._is_chain = chain.covers(outputs)
            if self._is_chain:
                chain.add_squares(seeds(outputs), sums)
                return ()
        tape = Tape(self._parameters, inputs, self._known)
        with tape:
            outputs = self._run(inputs.detach())
        escaped = tape.escaped(outputs)
        if escaped:
            return tuple(f"{self._names[slot]}: {what}" for slot, what in sorted(escaped.items()))
        Accumulation(tape, outputs, sums).add(seeds(outputs.detach()))
        return ()

    def _check(self, inputs: Tensor) -> tuple[str, ...]:
        """Compare the rules with single rows on a few rows and random seeds.

        Raises:
            RuntimeError: Memory ran out.
            NotApplicable: The rows cannot be handled one at a time either.
        """
        seed = random_seed(self._run, inputs)
        differing = self._compare(inputs, seed)
        if differing and self._is_chain:
            self._is_chain = False
            differing = self._compare(inputs, seed)
        if differing:
            require_independent_rows(self._run, inputs)
        return differing

    def _compare(self, inputs: Tensor, seed: Tensor) -> tuple[str, ...]:
        try:
            escaped, samples = self._sampled(inputs, seed)
            return escaped or self._differing(inputs, seed, samples)
        except (ValueError, IndexError) as error:
            return (_misfit(error),)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return (_misfit(error),)

    def _sampled(self, inputs: Tensor, seed: Tensor) -> tuple[tuple[str, ...], list[Tensor]]:
        """Return why the rules do not hold, and samples of what they give, by slot.

        Sums of the caller's that are still empty serve as memory.
        """
        is_lent = self._checked_rows == 0 and self._totals is not None
        totals = self.totals if is_lent else accumulators(self._named, None)
        try:
            # Twice the same, with half the squares: several passes go other ways than a single one.
            seeds = [seed * math.sqrt(0.5)] * 2
            escaped = self._add_by_rules(inputs, lambda _: seeds, tuple(totals.values()))
            return escaped, [spread_scalars(total).clone() for total in totals.values()]
        finally:
            if is_lent:
                for total in totals.values():
                    total.zero_()

    def _differing(
        self, inputs: Tensor, seed: Tensor, samples: Sequence[Tensor]
    ) -> tuple[str, ...]:
        """Say in which parameters single rows give something else; ``samples`` are used up."""
        largest = [_largest(sample) for sample in samples]
        for group in _groups([p.numel() for p in self._parameters]):
            chosen = [self._parameters[slot] for slot in group]
            for gradients in row_gradients(self._run, chosen, inputs, [seed]):
                for slot, gradient in zip(group, gradients, strict=True):
                    if gradient is not None:
                        samples[slot].sub_(spread_scalars(gradient).square())
                # The next row's gradients are made while this frame is still here.
                del gradients, gradient
        differences = {
            slot: Difference(
                largest[slot],
                _largest(samples[slot].abs_()),
                torch.finfo(self._parameters[slot].dtype).eps,
            )
            for slot in range(len(samples))
        }
        scale = max((difference.largest for difference in differences.values()), default=0.0)
        return tuple(
            f"{self._names[slot]}: rows cannot be told apart"
            for slot, difference in differences.items()
            if not difference.is_rounding(scale)
        )


def spread_scalars(values: Tensor) -> Tensor:
    """Return scalars at even distances; an odd distance does not keep to single columns."""
    distance = max(1, values.numel() // _SAMPLE) | 1
    if values.is_contiguous():
        return values.view(-1)[::distance]
    # Gradients of linear layers are transposed, and flattening them would copy them.
    positions = torch.arange(0, values.numel(), distance, device=values.device)
    return values[torch.unravel_index(positions, values.shape)]


def _misfit(error: Exception) -> str:
    return f"the rules do not fit the network: {type(error).__name__}"


def _largest(total: Tensor) -> float:
    return float(total.max()) if total.numel() else 0.0


def _groups(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield the slots in groups of at most ``MOST_COMPARED`` scalars, or of one slot."""
    group: list[int] = []
    held = 0
    for slot, size in enumerate(sizes):
        if group and held + size > MOST_COMPARED:
            yield group
            group, held = [], 0
        group.append(slot)
        held += size
    if group:
        yield group
