"""What a rule may ask of the tape that calls it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from app.unlearning.curvature.rules.use import Use

Operation = Callable[..., Any]


class Recorder(Protocol):
    """The recording side of a tape.

    Attributes:
        rows: Rows of the batch being recorded.
    """

    rows: int

    def slot(self, candidate: object) -> int | None:
        """Return the slot of a parameter, or of what was derived from some; None otherwise."""

    def is_rowless(self, length: int) -> bool:
        """Say whether a leading axis of this length is something else than the rows."""

    def tap(self, output: Tensor, uses: Sequence[Use], *, is_view: bool = False) -> Tensor:
        """Have the gradient with respect to ``output``, perhaps a view, handed to ``uses``."""

    def run(self, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation as if the network had called it."""


Rule = Callable[[Recorder, Operation, tuple[Any, ...], Mapping[str, Any]], Any]
"""Perform an operation and record its uses; None if it uses no tracked parameter in a known way.

Arguments: the recorder, the operation, its positional and its keyword arguments. The result is
that of the operation, whatever its type.
"""


class Arguments(dict[str, Any]):
    """Arguments of an operation by name, however they were passed."""

    @classmethod
    def bind(
        cls, names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> "Arguments":
        """Give positional arguments their names."""
        return cls(zip(names, args, strict=False), **kwargs)

    def slots(self, recorder: Recorder, *names: str) -> tuple[int | None, ...]:
        """Return the slots of the named arguments and cut the tracked ones off the graph.

        The operation then computes the gradient of its input alone; that of the parameter is
        what the recorded uses are for.
        """
        slots = []
        for name in names:
            slots.append(recorder.slot(self.get(name)))
            if slots[-1] is not None:
                self[name] = self[name].detach()
        return tuple(slots)
