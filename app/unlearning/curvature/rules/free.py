"""Parameters that belong to no layer: positions that are added, scales, tokens put in front.

They meet the rows by broadcasting. Each row is given a copy of its own, which takes no memory, and
the gradient at the copies tells the rows apart; whatever operation follows is left to automatic
differentiation.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from app.unlearning.curvature.rules.recorder import Operation, Recorder
from app.unlearning.curvature.rules.use import ReducedUse


class RowCopies(ReducedUse):
    """A parameter of which every row has a copy, (rows, ...), aligned with it at the last axis."""

    def __init__(self, slot: int, rows: int, shape: torch.Size) -> None:
        """Record the number of copies and the shape of the parameter."""
        super().__init__(slot)
        self._rows, self._shape = rows, shape

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum over the axes along which a copy is repeated within its row."""
        aligned = _aligned(self._shape, gradient.dim())
        return gradient.sum_to_size(self._rows, *aligned[1:]).reshape(self._rows, *self._shape)


def elementwise(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record addition, multiplication and their relatives of a parameter and something per row.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    slots = [recorder.slot(argument) for argument in args[:2]]
    if len(slots) < 2 or (slots[0] is None) == (slots[1] is None):
        return None
    place = 0 if slots[1] is None else 1
    parameter, other, slot = args[place], args[1 - place], slots[place]
    if slot is None or not isinstance(other, Tensor) or not other.dim():
        return None
    if len(other) != recorder.rows or not _lacks_rows(parameter, other.dim()):
        return None
    aligned = parameter.detach().reshape(_aligned(parameter.shape, other.dim()))
    copies = aligned.expand(recorder.rows, *aligned.shape[1:])
    replaced = list(args)
    use = RowCopies(slot, recorder.rows, parameter.shape)
    replaced[place] = recorder.tap(copies, [use], is_view=True)
    result: Tensor = operation(*replaced, **kwargs)
    return result


def expand(
    recorder: Recorder, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor | None:
    """Record ``torch.Tensor.expand`` of a parameter to all rows.

    Returns:
        The output, or None if the operation is not for this rule.
    """
    parameter = args[0]
    slot = recorder.slot(parameter)
    if slot is None:
        return None
    copies: Tensor = operation(parameter.detach(), *args[1:], **kwargs)
    if not _lacks_rows(parameter, copies.dim()) or recorder.is_rowless(len(copies)):
        return None
    if len(copies) != recorder.rows:
        return None
    use = RowCopies(slot, recorder.rows, parameter.shape)
    return recorder.tap(copies, [use], is_view=True)


def _aligned(shape: torch.Size, axes: int) -> tuple[int, ...]:
    return (1,) * (axes - len(shape)) + tuple(shape)


def _lacks_rows(parameter: Tensor, axes: int) -> bool:
    """Say whether broadcasting to so many axes repeats the parameter along the first."""
    return axes > parameter.dim() or (axes == parameter.dim() and parameter.shape[0] == 1)
