"""Record how an ordinary forward pass uses its parameters.

A :class:`Tape` watches every torch operation of a forward pass. Operations with a rule run on
parameters cut off the autograd graph, and their outputs are tapped: during the backward pass the
gradient at each output is handed to a receiver, and no weight gradient is ever computed. Functional
code is covered as well as modules, because operations are watched and not modules.

Whatever escapes the rules still hangs in the graph. :meth:`Tape.escaped` finds it there, so that
the caller can turn to a slower way: a parameter is never silently skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from app.unlearning.curvature.rules import RULES
from app.unlearning.curvature.rules.derived import DerivedUse
from app.unlearning.curvature.rules.use import Use
from app.unlearning.curvature.tapping import ANCHOR, Handover, Receiver, Tap
from app.unlearning.curvature.watch import Watch

_SEQUENCES = (list, tuple)


@dataclass
class Known:
    """What earlier passes have shown about a network; all passes over it share this.

    Attributes:
        rowless: Which of the questions that :meth:`Tape.is_rowless` is asked during a pass were
            answered how.
        scalars: For the shape of an input row, how many scalars of the output of each recorded
            operation belong to a row.
    """

    rowless: dict[int, bool] = field(default_factory=dict)
    scalars: dict[torch.Size, tuple[int, ...]] = field(default_factory=dict)


class Tape(Watch):
    """Record one forward pass over one batch.

    Attributes:
        rows: Rows of the batch.
        tapped_scalars: Scalars of all tapped outputs together.
    """

    def __init__(self, parameters: Sequence[Tensor], inputs: Tensor, known: Known) -> None:
        """Prepare to record.

        Args:
            parameters: The tracked parameters; their positions are the slots.
            inputs: (rows, ...).
            known: What is known about the network; added to.
        """
        super().__init__()
        self.rows, self._shape = len(inputs), inputs.shape[1:]
        self.tapped_scalars = 0
        self._scalars: list[int] = []
        self._parameters = tuple(parameters)
        self._slots = {id(parameter): slot for slot, parameter in enumerate(parameters)}
        self._derived: list[tuple[Tensor, frozenset[int]]] = []
        self._known, self._questions = known, 0
        self._taps: list[tuple[list[Use], GradientEdge]] = []
        self._handover, self._is_listening = Handover(), False

    def run(
        self, operation: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run one operation, by its rule if it has one and uses a tracked parameter."""
        rule = RULES.get(operation)
        if rule is not None:
            output = rule(self, operation, args, kwargs)
            if output is not None:
                return output
        output = operation(*args, **kwargs)
        for argument in args:
            if id(argument) in self._slots or isinstance(argument, _SEQUENCES):
                self._note_derived(output, self._sources(args, kwargs))
                break
        return output

    def slot(self, candidate: object) -> int | None:
        """Return the slot of a parameter, or of what was derived from some; None otherwise."""
        return self._slots.get(id(candidate))

    def is_rowless(self, length: int) -> bool:
        """Say whether a leading axis of this length is something else than the rows.

        Each question is settled once per network, at the first batch with more than one row, by
        the length; in later batches the number of rows may happen to equal that of positions.
        """
        self._questions += 1
        answers = self._known.rowless
        if self._questions not in answers and self.rows > 1:
            answers[self._questions] = length != self.rows
        return answers.get(self._questions, False)

    @property
    def uses(self) -> list[Use]:
        """What was recorded, in order."""
        return [use for uses, _ in self._taps for use in uses]

    @property
    def operations(self) -> Iterator[Sequence[Use]]:
        """The uses of each recorded operation, in order."""
        return (uses for uses, _ in self._taps)

    def tap(self, output: Tensor, uses: Sequence[Use], *, is_view: bool = False) -> Tensor:
        """Have the gradient with respect to ``output`` handed to ``uses``.

        Args:
            output: What an operation returned.
            uses: What wants its gradient.
            is_view: It shares memory with something, and must not be overwritten.

        Returns:
            The same values, in a graph.
        """
        if self._derived:
            uses = [own for use in uses for own in self._of_parameters(use)]
        self._scalars.append(output.numel() // self.rows)
        self.tapped_scalars += output.numel()
        tapped: Any = output if output.requires_grad else Tap.apply(output, ANCHOR, is_view)
        node, place = tapped.grad_fn, tapped.output_nr
        # The graph lives as long as the outputs do, without an owner in every edge.
        self._taps.append((list(uses), GradientEdge(node, place)))
        result: Tensor = tapped
        return result

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
        if not self._is_listening:
            for uses, edge in self._taps:
                edge.node.register_prehook(partial(self._handover, uses, edge.output_nr))
            self._is_listening = True
        self._handover.receiver = receiver
        try:
            torch.autograd.backward(outputs, seed, retain_graph=keep, inputs=[ANCHOR])
        finally:
            self._handover.receiver = None

    def gradients(
        self, outputs: Tensor, seeds: Tensor, *, keep: bool
    ) -> Iterator[tuple[list[Use], Tensor]]:
        """Back-propagate one seed, or several at once.

        All gradients are held together, so this is for few and narrow layers, where it is faster.

        Args:
            outputs: What the recorded forward pass returned.
            seeds: Of the shape of ``outputs``, or (passes, *outputs.shape).
            keep: Keep the graph for another backward pass.

        Yields:
            The uses of every operation that the gradients reach, and the gradient at its output,
            with or without passes, from the last operation to the first.
        """
        if not outputs.requires_grad or not self._taps:
            return
        found = torch.autograd.grad(
            outputs,
            [edge for _, edge in reversed(self._taps)],
            seeds,
            retain_graph=keep,
            allow_unused=True,
            is_grads_batched=seeds.dim() > outputs.dim(),
        )
        remaining = list(reversed(found))
        del found
        for uses, _ in reversed(self._taps):
            gradient = remaining.pop()
            if gradient is not None:
                yield uses, gradient

    def escaped(self, outputs: Tensor) -> dict[int, str]:
        """Find tracked parameters whose uses were not all recorded, or not as they were before.

        Where an operation is given more or less of each row than in another batch, it depends on
        the rows what it is given, and which scalars are whose cannot be known.

        Args:
            outputs: What the recorded forward pass returned.

        Returns:
            Slot to the operation that used it without a rule.
        """
        found: dict[int, str] = {}
        scalars = tuple(self._scalars)
        if self._known.scalars.setdefault(self._shape, scalars) != scalars:
            found = dict.fromkeys((use.slot for use in self.uses), "what it meets depends on rows")
        for consumer, leaf in _leaves(outputs):
            slot = self._slots.get(id(leaf))
            if slot is not None:
                found[slot] = consumer
        return found

    def _sources(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> frozenset[int]:
        """Return the slots of the parameters that alone determine the result, if there are any."""
        sources: frozenset[int] = frozenset()
        for tensor in _tensors((args, tuple(kwargs.values()))):
            slot = self._slots.get(id(tensor))
            if slot is None:
                return frozenset()
            sources |= self._parameters_of(slot)
        return sources

    def _note_derived(self, output: Any, sources: frozenset[int]) -> None:
        """Track what was computed from parameters alone under slots of its own."""
        if not sources:
            return
        for tensor in _tensors(output):
            if tensor.requires_grad and id(tensor) not in self._slots:
                self._slots[id(tensor)] = len(self._parameters) + len(self._derived)
                self._derived.append((tensor, sources))

    def _parameters_of(self, slot: int) -> frozenset[int]:
        own = len(self._parameters)
        return frozenset((slot,)) if slot < own else self._derived[slot - own][1]

    def _of_parameters(self, use: Use) -> Iterator[Use]:
        """Put uses by the parameters in place of a use of something derived from them."""
        own = len(self._parameters)
        if use.slot < own:
            yield use
            return
        derived, sources = self._derived[use.slot - own]
        for slot in sorted(sources):
            yield DerivedUse(slot, self._parameters[slot], derived, use, self.rows)


def _tensors(value: object) -> Iterator[Tensor]:
    """Find the tensors among arguments or results, also those in lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


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
