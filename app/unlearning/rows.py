"""Sets of rows that can be streamed any number of times, always in the same order.

Everything here is small on purpose: a set of rows in memory, several sets one after the other,
a set in which each row counts for more than one. Rows that live on disk implement the same
protocol elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One slice of rows, already tensors on the device of the model.

    Attributes:
        inputs: (b, ...), floating point, or int64 for a network that begins with an embedding.
        targets: (b,) int64 for ``cross_entropy``; (b,) or (b, 1) floating point in [0, 1] for
            ``binary_cross_entropy``; (b,) or (b, k) floating point for ``mean_squared_error``.
        weights: (b,) how many rows each row stands for, >= 0; None means one each.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def total_weight(self) -> float:
        """Return the sum of the weights: the number of rows this batch stands for."""
        return float(len(self)) if self.weights is None else float(self.weights.double().sum())

    def slice(self, start: int, stop: int) -> Batch:
        """Return the rows from ``start`` up to ``stop``, as views."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Batch(self.inputs[start:stop], self.targets[start:stop], weights)

    def scaled(self, factor: float) -> Batch:
        """Return the same rows with every weight multiplied by ``factor``."""
        return replace(self, weights=_explicit_weights(self) * factor)


@runtime_checkable
class Rows(Protocol):
    """A set of rows in a fixed order."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions`` ((b,) int64 on the CPU, each in [0, len))."""


@dataclass(frozen=True)
class TensorRows:
    """Rows held in memory.

    Attributes:
        inputs: (n, ...).
        targets: (n, ...), see :class:`Batch`.
        weights: (n,) or None.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that all parts have the same number of rows.

        Raises:
            ValueError: They do not.
        """
        lengths = {len(self.inputs), len(self.targets)}
        if self.weights is not None:
            lengths.add(len(self.weights))
        if len(lengths) != 1:
            raise ValueError(f"inputs, targets and weights have different lengths: {lengths}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time, as views.

        Yields:
            Consecutive batches.

        Raises:
            ValueError: ``size`` is not positive.
        """
        if size < 1:
            raise ValueError("a batch holds at least one row")
        whole = Batch(self.inputs, self.targets, self.weights)
        for start in range(0, len(self), size):
            yield whole.slice(start, start + size)

    def take(self, positions: Tensor) -> Batch:
        """Return copies of the rows at ``positions``."""
        positions = positions.to(self.inputs.device)
        weights = None if self.weights is None else self.weights[positions]
        return Batch(self.inputs[positions], self.targets[positions], weights)


@dataclass(frozen=True)
class WeightedRows:
    """The rows of ``rows``, each standing for ``factor`` times as many.

    Attributes:
        rows: The rows.
        factor: What their weights are multiplied by, >= 0.
    """

    rows: Rows
    factor: float

    def __len__(self) -> int:
        """Return the number of rows, not of what they stand for."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""
        return (batch.scaled(self.factor) for batch in self.rows.batches(size))

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``."""
        return self.rows.take(positions).scaled(self.factor)


@dataclass(frozen=True)
class CappedRows:
    """The rows of ``rows``, streamed in batches that the memory can bear.

    Attributes:
        rows: The rows.
        most: Rows of a batch at most, >= 1, whatever is asked for.
    """

    rows: Rows
    most: int

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` and at most ``most`` at a time."""
        return self.rows.batches(min(size, self.most))

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``, however many: a training step is not divided."""
        return self.rows.take(positions)


@dataclass(frozen=True)
class ConcatenatedRows:
    """Several sets of rows one after the other.

    A batch never spans two parts, so some batches are smaller than the size asked for.

    Attributes:
        parts: The sets, in order; at least one.
    """

    parts: tuple[Rows, ...]

    def __len__(self) -> int:
        """Return the number of rows of all parts."""
        return sum(len(part) for part in self.parts)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""
        return (batch for part in self.parts for batch in part.batches(size))

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``, in the order asked for.

        Raises:
            IndexError: A position lies outside [0, len).
        """
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(self):
            raise IndexError("a position lies outside the rows")
        taken, places, start = [], [], 0
        for part in self.parts:
            here = ((positions >= start) & (positions < start + len(part))).nonzero()[:, 0]
            if len(here):
                taken.append(part.take(positions[here] - start))
                places.append(here)
            start += len(part)
        if not taken:
            return self.parts[0].take(positions)
        order = torch.cat(places).argsort()
        joined = _join(taken)
        order = order.to(joined.inputs.device)
        weights = None if joined.weights is None else joined.weights[order]
        return Batch(joined.inputs[order], joined.targets[order], weights)


@dataclass(frozen=True)
class _NoRows:
    """No rows at all."""

    def __len__(self) -> int:
        return 0

    def batches(self, size: int) -> Iterator[Batch]:
        del size
        return iter(())

    def take(self, positions: Tensor) -> Batch:
        if len(positions):
            raise IndexError("there are no rows")
        return Batch(torch.empty(0), torch.empty(0))


def empty() -> Rows:
    """Return a set without rows, such as the replacement set of a deletion."""
    return _NoRows()


def concatenate(*parts: Rows) -> Rows:
    """Return the rows of all parts one after the other, leaving out parts without rows."""
    filled = tuple(part for part in parts if len(part))
    if not filled:
        return empty()
    return filled[0] if len(filled) == 1 else ConcatenatedRows(filled)


def gathered(rows: Rows, size: int = 1024) -> TensorRows:
    """Return a copy of all rows as one set in memory, from which few are taken faster.

    Args:
        rows: The rows; at least one.
        size: Rows read at a time.

    Returns:
        The same rows in the same order.
    """
    joined = _join(list(rows.batches(size)))
    return TensorRows(joined.inputs, joined.targets, joined.weights)


def stream(rows: Rows | Iterable[Batch], size: int) -> Iterator[Batch]:
    """Iterate over batches, whether given as rows or as batches already.

    Args:
        rows: Rows, cut into batches here, or batches, passed on as they are.
        size: Largest batch cut from rows.

    Returns:
        The batches; empty ones are left out.
    """
    batches = rows.batches(size) if isinstance(rows, Rows) else rows
    return (batch for batch in batches if len(batch))


def _join(batches: list[Batch]) -> Batch:
    weights = None
    if any(batch.weights is not None for batch in batches):
        weights = torch.cat([_explicit_weights(batch) for batch in batches])
    inputs = torch.cat([batch.inputs for batch in batches])
    return Batch(inputs, torch.cat([batch.targets for batch in batches]), weights)


def _explicit_weights(batch: Batch) -> Tensor:
    return _ones(batch) if batch.weights is None else batch.weights


def _ones(batch: Batch) -> Tensor:
    floating = batch.inputs.is_floating_point()
    dtype = batch.inputs.dtype if floating else torch.get_default_dtype()
    return torch.ones(len(batch), dtype=dtype, device=batch.inputs.device)
