"""Add up the squared per-row gradients of one batch, parameter by parameter."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from app.unlearning.curvature.rules.use import Use, rows_at_once
from app.unlearning.curvature.tape import Tape

_FEW = 2**16
"""Scalars of output gradients, of all layers, that are so few that holding all costs nothing."""

_TOGETHER = 2**21
"""Scalars of output gradients, of all layers, that are held together: 8 MiB of float32."""


class Accumulation:
    """Route the gradients of one batch into the sums."""

    def __init__(self, tape: Tape, outputs: Tensor, sums: Sequence[Tensor]) -> None:
        """Prepare to add the rows that were recorded.

        Args:
            tape: The record of a forward pass.
            outputs: What it returned.
            sums: Where to add, by slot.
        """
        self._tape, self._outputs, self._sums = tape, outputs, sums
        recorded = tape.uses
        slots = [use.slot for use in recorded]
        is_shared = len(set(slots)) < len(slots)
        self._shared = {s for s in slots if slots.count(s) > 1} if is_shared else set[int]()
        self._takes_several = not is_shared and all(use.takes_several for use in recorded)
        self._unfinished: set[Use] = set()
        self._waiting: dict[int, list[tuple[Use, Tensor]]] = {}
        self._is_last = False

    def add(self, seeds: Iterable[Tensor]) -> None:
        """Back-propagate every seed and add the squares of what reaches the parameters.

        Where all layers can take in several passes together, several are back-propagated together.

        Args:
            seeds: Tensors of the shape of the outputs.
        """
        for together, is_last in _chunks(seeds, self._passes_together()):
            self._is_last, keep = is_last, not is_last
            if len(together) > 1:
                stacked = torch.stack(together)
                for uses, gradients in self._tape.gradients(self._outputs, stacked, keep=keep):
                    self._receive_several(uses, gradients)
            elif self._tape.tapped_scalars <= _FEW:
                for uses, gradient in self._tape.gradients(self._outputs, together[0], keep=keep):
                    self._receive(uses, gradient)
            else:
                self._tape.backward(self._outputs, together[0], self._receive, keep=keep)
            self._add_shared()
        # What the last pass did not reach is still put off.
        for use in self._unfinished:
            use.finish(self._sums[use.slot])
        self._unfinished.clear()

    def _passes_together(self) -> int:
        if not self._takes_several:
            return 1
        return max(1, _TOGETHER // max(1, self._tape.tapped_scalars))

    def _receive(self, uses: list[Use], gradient: Tensor) -> None:
        """Take in the gradient at the output of one operation."""
        for use in uses:
            if use.slot in self._shared:
                self._waiting.setdefault(use.slot, []).append((use, gradient))
            else:
                use.fold(gradient, self._sums[use.slot])
                self._put_off(use)
        self._let_go(uses)

    def _receive_several(self, uses: list[Use], gradients: Tensor) -> None:
        """Take in the gradients of several passes, (passes, ...), at one output."""
        for use in uses:
            for gradient in gradients:
                use.fold(gradient, self._sums[use.slot])
            self._put_off(use)
        self._let_go(uses)

    def _let_go(self, uses: list[Use]) -> None:
        """Free what the uses hold once it is not needed, as an ordinary backward pass does."""
        if self._is_last:
            uses.clear()

    def _put_off(self, use: Use) -> None:
        """Wait for further passes, if there are any."""
        if self._is_last:
            use.finish(self._sums[use.slot])
            self._unfinished.discard(use)
        else:
            self._unfinished.add(use)

    def _add_shared(self) -> None:
        """Add shared parameters: the square of the sum over uses, not the sum of squares."""
        for slot, received in self._waiting.items():
            total, rows = self._sums[slot], self._tape.rows
            step = rows_at_once(rows, total)
            for start in range(0, rows, step):
                (first, gradient), *others = received
                gradients = first.row_gradients(gradient, start, start + step)
                for use, gradient in others:
                    use.add_row_gradients(gradient, start, start + step, gradients)
                if len(gradients) == 1:
                    total.addcmul_(gradients[0], gradients[0])
                else:
                    total.add_(gradients.square_().sum(0))
        self._waiting.clear()


def _chunks(seeds: Iterable[Tensor], size: int) -> Iterator[tuple[list[Tensor], bool]]:
    """Yield up to ``size`` seeds at a time, and whether they are the last."""
    remaining = iter(seeds)
    chunk = list(islice(remaining, size))
    while chunk:
        following = list(islice(remaining, size))
        yield chunk, not following
        chunk = following
