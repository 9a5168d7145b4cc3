"""Sum squared per-row gradients over a stream of batches.

Every diagonal of this package is such a sum: rows are back-propagated with one or several *seeds*
(gradients with respect to the outputs), and the squares of the resulting parameter gradients are
added up, row by row and seed by seed. Only the seeds differ.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from app.unlearning.curvature.row_by_row import (
    Difference,
    add_squared_row_gradients,
    random_seed,
)
from app.unlearning.curvature.rules.use import Use, rows_at_once
from app.unlearning.curvature.tape import Tape
from app.unlearning.errors import NotApplicable

Seeds = Callable[[Tensor], Iterable[Tensor]]
"""From the outputs (b, ...) of a batch, detached, to tensors of their shape."""

MOST_COMPARED = 2**22
"""Scalars of a parameter, and of a group of them, that are differentiated at once in the check."""


class SquaredGradients:
    """Accumulate sums of squared per-row gradients, by rules where they hold.

    The first batch is preceded by a check on two of its rows: what the rules give must equal what
    the rows give one at a time. It leaves out parameters of more than ``MOST_COMPARED`` scalars,
    since a gradient of one takes as much memory again. Every batch is checked for parameters that
    escaped the rules. If either check fails, this and all further batches go row by row, which is
    slow but exact.

    Attributes:
        totals: Parameter name to the sum so far.
        fallbacks: Why the rules were given up, one sentence each; empty if they hold.
    """

    def __init__(self, model: nn.Module, out: Mapping[str, Tensor] | None = None) -> None:
        """Prepare sums for all trainable parameters of ``model``.

        Args:
            model: The network, which must be in eval mode while batches are added.
            out: Tensors to accumulate in, by parameter name, such as memory-mapped ones; they
                are zeroed. None allocates them.

        Raises:
            NotApplicable: Two parameters share memory without being the same parameter, or
                ``out`` does not fit the parameters.
        """
        named = trainable_parameters(model)
        self.totals = accumulators(named, out)
        self.fallbacks: tuple[str, ...] = ()
        self._model = model
        self._names = tuple(named)
        self._parameters = tuple(named.values())
        self._sums = tuple(self.totals.values())
        self._rowless: dict[int, bool] = {}
        self._checked_rows = 0

    def add(self, inputs: Tensor, seeds: Seeds) -> None:
        """Add the rows of one batch.

        Args:
            inputs: (b, ...).
            seeds: What to back-propagate, see the module.
        """
        if not self.fallbacks and self._checked_rows < min(2, len(inputs)):
            self.fallbacks = self._check(inputs[:2])
            self._checked_rows = min(2, len(inputs))
        if not self.fallbacks:
            self.fallbacks = self._add_by_rules(inputs, seeds, self._sums)
            if not self.fallbacks:
                return
        with torch.no_grad():
            outputs = self._model(inputs)
        columns = list(seeds(outputs))
        add_squared_row_gradients(self._model, self._parameters, inputs, columns, self._sums)

    def _add_by_rules(
        self, inputs: Tensor, seeds: Seeds, sums: Sequence[Tensor]
    ) -> tuple[str, ...]:
        """Add one batch by rules, or say why that is impossible and add nothing."""
        tape = Tape(self._parameters, len(inputs), self._rowless)
        with tape:
            outputs = self._model(inputs)
        escaped = tape.escaped(outputs)
        if escaped:
            return tuple(f"{self._names[slot]}: {what}" for slot, what in sorted(escaped.items()))
        accumulation = _Accumulation(tape.uses, len(inputs), sums)
        columns = iter(seeds(outputs.detach()))
        column = next(columns, None)
        while column is not None:
            following = next(columns, None)
            accumulation.is_last = following is None
            tape.backward(outputs, column, accumulation.receive, keep=not accumulation.is_last)
            accumulation.add_shared()
            column = following
        accumulation.finish()
        return ()

    def _check(self, inputs: Tensor) -> tuple[str, ...]:
        """Compare the rules with single rows on a few rows and random seeds.

        Sums that are still empty serve the comparison, so that it needs no memory of their size.
        """
        seed = random_seed(self._model, inputs)
        is_first = self._checked_rows == 0
        found = self._sums if is_first else [torch.zeros_like(p) for p in self._parameters]
        try:
            escaped = self._add_by_rules(inputs, lambda _: [seed], found)
            return escaped or self._differing(inputs, seed, found)
        except (RuntimeError, ValueError, IndexError) as error:
            return (f"the rules do not fit the network: {type(error).__name__}",)
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
            add_squared_row_gradients(self._model, chosen, inputs, [seed], totals, factor=-1.0)
            for slot, total, size in zip(group, totals, largest, strict=True):
                precision = torch.finfo(total.dtype).eps
                differences[slot] = Difference(size, _largest(total.abs_()), precision)
        scale = max((difference.largest for difference in differences.values()), default=0.0)
        return tuple(
            f"{self._names[slot]}: rows cannot be told apart"
            for slot, difference in differences.items()
            if not difference.is_rounding(scale)
        )


class _Accumulation:
    """Route tapped gradients of one batch into the sums.

    Attributes:
        is_last: No further backward pass follows: nothing may be put off any longer.
    """

    def __init__(self, uses: Sequence[Use], rows: int, sums: Sequence[Tensor]) -> None:
        self.is_last = False
        self._rows, self._sums = rows, sums
        times = Counter(use.slot for use in uses)
        self._shared = {slot for slot, count in times.items() if count > 1}
        self._unfinished: set[Use] = set()
        self._waiting: dict[int, list[tuple[Use, Tensor]]] = {}

    def receive(self, uses: Sequence[Use], gradient: Tensor) -> None:
        """Take in the gradient at the output of one operation."""
        for use in uses:
            if use.slot in self._shared:
                self._waiting.setdefault(use.slot, []).append((use, gradient))
            else:
                use.fold(gradient, self._sums[use.slot])
                self._unfinished.add(use)
        if self.is_last:
            self._finish(self._unfinished.intersection(uses))

    def finish(self) -> None:
        """Add what is still put off, such as uses the last pass did not reach."""
        self._finish(set(self._unfinished))

    def add_shared(self) -> None:
        """Add shared parameters: the square of the sum over uses, not the sum of squares."""
        for slot, received in self._waiting.items():
            total = self._sums[slot]
            step = rows_at_once(self._rows, total)
            for start in range(0, self._rows, step):
                parts = [use.row_gradients(g, start, start + step) for use, g in received]
                total.add_(torch.stack(parts).sum(0).square_().sum(0))
        self._waiting.clear()

    def _finish(self, uses: Iterable[Use]) -> None:
        for use in uses:
            use.finish(self._sums[use.slot])
            self._unfinished.discard(use)


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


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters by name, each once, in the model's order.

    Args:
        model: The network.

    Returns:
        Name to parameter.

    Raises:
        NotApplicable: Two of them share memory without being the same parameter.
    """
    named: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    owners: dict[int, str] = {}
    for name, parameter in named.items():
        owner = owners.setdefault(parameter.data_ptr(), name)
        if owner != name and parameter.numel():
            raise NotApplicable(f"{owner} and {name} share memory but are not one parameter")
    return named


def accumulators(
    parameters: Mapping[str, Tensor], out: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return zeroed tensors of the shapes of the parameters.

    Args:
        parameters: By name.
        out: What to zero and use; None allocates.

    Returns:
        Parameter name to accumulator.

    Raises:
        NotApplicable: ``out`` lacks a parameter or has another shape.
    """
    if out is None:
        return {name: torch.zeros_like(p).detach() for name, p in parameters.items()}
    for name, parameter in parameters.items():
        if name not in out or out[name].shape != parameter.shape:
            raise NotApplicable(f"no accumulator of the right shape for {name}")
    return {name: out[name].zero_() for name in parameters}
