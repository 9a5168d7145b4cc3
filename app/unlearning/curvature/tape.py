"""Record how an ordinary forward pass uses its parameters.

A :class:`Tape` watches every torch operation of a forward pass. Operations with a rule run on
parameters cut off the autograd graph, and their outputs are tapped: during the backward pass the
gradient at each output is handed to a receiver, and no weight gradient is ever computed. Functional
code is covered as well as modules, because operations are watched and not modules.

Whatever escapes the rules still hangs in the graph. :meth:`Tape.escaped` finds it there, so that
the caller can turn to a slower way: a parameter is never silently skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from app.unlearning.curvature.rules import RULES
from app.unlearning.curvature.rules.use import Use

Receiver = Callable[[Sequence[Use], Tensor], None]
"""Takes the uses of one operation and the gradient at its output."""


class Tape(TorchFunctionMode):
    """Record one forward pass over one batch.

    Attributes:
        rows: Rows of the batch.
        uses: What was recorded, in order.
    """

    def __init__(self, parameters: Sequence[Tensor], rows: int, rowless: dict[int, bool]) -> None:
        """Prepare to record.

        Args:
            parameters: The tracked parameters; their positions are the slots.
            rows: Rows of the batch; axis 0 of the inputs.
            rowless: For each embedding table whether its vectors of indices lack the row axis;
                filled while recording, and to be shared by all passes over the same model.
        """
        super().__init__()
        self.rows = rows
        self.uses: list[Use] = []
        self._slots = {id(parameter): slot for slot, parameter in enumerate(parameters)}
        self._rowless = rowless
        self._anchor = torch.zeros((), requires_grad=True)
        self._receiver: Receiver | None = None

    def __torch_function__(
        self,
        operation: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # whatever the operation returns
        """Run one operation, by its rule if it has one and uses a tracked parameter."""
        rule = RULES.get(operation)
        if rule is not None:
            output = rule(self, operation, args, kwargs or {})
            if output is not None:
                return output
        return operation(*args, **(kwargs or {}))

    def slot(self, candidate: object) -> int | None:
        """Return the slot of a tracked parameter, None for anything else."""
        return self._slots.get(id(candidate))

    def is_rowless(self, slot: int, length: int) -> bool:
        """Say whether a vector of indices into this table lacks the row axis.

        Decided once per table, at the first batch with more than one row, by its length; in
        later batches the number of rows may happen to equal the number of positions.
        """
        if slot not in self._rowless and self.rows > 1:
            self._rowless[slot] = length != self.rows
        return self._rowless.get(slot, False)

    def tap(self, output: Tensor, uses: Sequence[Use]) -> Tensor:
        """Have the gradient with respect to ``output`` handed to ``uses``."""
        self.uses.extend(uses)
        tapped: Tensor = _Tap.apply(output, self._anchor, self._hand_over, uses)
        return tapped

    def backward(self, outputs: Tensor, seed: Tensor, receiver: Receiver, *, keep: bool) -> None:
        """Back-propagate ``seed`` from ``outputs`` and hand every tapped gradient to ``receiver``.

        Args:
            outputs: What the recorded forward pass returned.
            seed: Gradient with respect to ``outputs``, of their shape.
            receiver: Called once for each operation the gradient reaches.
            keep: Keep the graph for another backward pass.
        """
        if not outputs.requires_grad:
            return
        self._receiver = receiver
        torch.autograd.backward(outputs, seed, retain_graph=keep, inputs=[self._anchor])

    def escaped(self, outputs: Tensor) -> dict[int, str]:
        """Find tracked parameters whose uses were not all recorded.

        Args:
            outputs: What the recorded forward pass returned.

        Returns:
            Slot to the operation that used it without a rule.
        """
        found: dict[int, str] = {}
        for consumer, leaf in _leaves(outputs):
            slot = self._slots.get(id(leaf))
            if slot is not None:
                found[slot] = consumer
        return found

    def _hand_over(self, uses: Sequence[Use], gradient: Tensor) -> None:
        if self._receiver is not None:
            self._receiver(uses, gradient)


class _Tap(torch.autograd.Function):
    """The identity, whose backward pass shows the gradient to a callback."""

    @staticmethod
    def forward(
        ctx: Any,  # torch gives the context no public type
        output: Tensor,
        anchor: Tensor,  # noqa: ARG004 - it makes the output part of a graph
        hand_over: Callable[[Sequence[Use], Tensor], None],
        uses: Sequence[Use],
    ) -> Tensor:
        """Pass the output on, in a graph even where the operation's input is plain data."""
        ctx.hand_over, ctx.uses = hand_over, uses
        # Not a view, so that an activation may still overwrite it in place.
        ctx.mark_dirty(output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        """Show the gradient and pass it on."""
        ctx.hand_over(ctx.uses, gradients[0])
        return gradients[0] if ctx.needs_input_grad[0] else None, None, None, None


def _leaves(outputs: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Walk the graph and yield every leaf tensor with the name of the operation using it."""
    pending: list[Node] = [] if outputs.grad_fn is None else [outputs.grad_fn]
    seen = set(pending)
    while pending:
        node = pending.pop()
        for parent, _ in node.next_functions:
            if parent is None:
                continue
            leaf = getattr(parent, "variable", None)
            if leaf is not None:
                yield node.name(), leaf
            elif parent not in seen:
                seen.add(parent)
                pending.append(parent)
