"""Cells of one column: numbers in place, strings through a heap.

Overwriting and erasing act on the very bytes the old value was in; a value that no longer
fits moves to the end of the heap and leaves zeros behind. Each step can be repeated after a
crash at any point: the old bytes go first, then the place is settled, then the new bytes
are written.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.columns import Cell
from app.infra.rows.errors import DamagedStore
from app.infra.rows.mapped import MappedFile
from app.infra.rows.strings import SLACK, PackedStrings, equal_strings

RECORD = np.dtype("<i8")
BYTE = np.dtype("u1")


def as_numbers(
    values: Sequence[Cell], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return cells of ``shape`` as one array ``(n, *shape)``; a null becomes zeros."""
    blank = [0] * shape[0] if shape else 0
    filled = [blank if value is None else value for value in values]
    return np.array(filled, dtype).reshape(len(values), *shape)


class Numbers:
    """Numbers of one column, ``(rows,)`` or ``(rows, length)``, in ``<stem>.cells``."""

    def __init__(
        self, stem: Path, dtype: np.dtype[Any], shape: tuple[int, ...], *, writable: bool
    ) -> None:
        """Map the column; ``shape`` includes the rows."""
        self._cells = MappedFile(stem.with_suffix(".cells"), dtype, shape, writable=writable)

    @property
    def array(self) -> NDArray[Any]:
        """All cells, mapped."""
        return self._cells.array

    def overwrite(self, rows: NDArray[np.int64], values: Sequence[Cell]) -> None:
        """Replace the cells of ``rows``; a null becomes zeros."""
        self.array[rows] = as_numbers(values, self.array.dtype, self.array.shape[1:])

    def erase(self, rows: NDArray[np.int64]) -> None:
        """Make the cells of ``rows`` zero."""
        self.array[rows] = 0

    def flush(self) -> None:
        """Return when every change is on the disk."""
        self._cells.flush()


class Strings:
    """Strings of one column: (offset, length) in ``<stem>.cells``, bytes in ``<stem>.heap``.

    The heap ends with ``SLACK`` zero bytes. No two rows share bytes.
    """

    def __init__(self, stem: Path, rows: int, *, writable: bool) -> None:
        """Map the column.

        Raises:
            DamagedStore: A record points outside the heap.
        """
        self._records = MappedFile(stem.with_suffix(".cells"), RECORD, (rows, 2), writable=writable)
        self._heap = MappedFile(stem.with_suffix(".heap"), BYTE, (-1,), writable=writable)

    def packed(self, rows: NDArray[np.int64]) -> PackedStrings:
        """Return the strings of ``rows`` without copying their bytes.

        Raises:
            DamagedStore: A record points outside the heap.
        """
        records = self._records.array[rows]
        starts, lengths = records[:, 0], records[:, 1]
        if len(records) and int((starts + lengths).max()) + SLACK > len(self._heap.array):
            # Another process may have moved a string to the end since the heap was mapped.
            self._heap.map_again()
            if int((starts + lengths).max()) + SLACK > len(self._heap.array):
                raise DamagedStore(f"{self._heap.path.name} is too short")
        return PackedStrings(self._heap.array, starts, lengths)

    def equal_to(self, text: str) -> NDArray[np.int64]:
        """Return the rows that hold ``text``, ascending."""
        wanted = PackedStrings.of([text])
        rows = np.flatnonzero(self._records.array[:, 1] == wanted.lengths[0])
        copies = wanted.take(np.zeros(len(rows), np.int64))
        return rows[equal_strings(self.packed(rows), copies)]

    def overwrite(self, rows: NDArray[np.int64], values: Sequence[Cell]) -> None:
        """Replace the strings of ``rows``, each named once; a null becomes no bytes."""
        encoded = [b"" if value is None else str(value).encode() for value in values]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._blank(rows)
        self._move(rows, lengths)
        records = self._records.array
        records[rows, 1] = lengths
        for start, text in zip(records[rows, 0].tolist(), encoded, strict=True):
            self._heap.array[start : start + len(text)] = np.frombuffer(text, BYTE)

    def erase(self, rows: NDArray[np.int64]) -> None:
        """Make the bytes and the records of ``rows`` zero."""
        self._blank(rows)
        # Only after the bytes: a record is the way to find them again.
        self._heap.flush()
        self._records.array[rows] = 0

    def flush(self) -> None:
        """Return when every change is on the disk."""
        self._heap.flush()
        self._records.flush()

    def _blank(self, rows: NDArray[np.int64]) -> None:
        """Make the bytes of some strings zero."""
        for start, length in self._records.array[rows].tolist():
            self._heap.array[start : start + length] = 0

    def _move(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Give a place at the end of the heap to each row whose string has become longer."""
        records = self._records.array
        longer = lengths > records[rows, 1]
        if not longer.any():
            return
        # The first moved string begins in the old slack; the new end has its own.
        end = len(self._heap.array)
        places = end - SLACK + np.cumsum(lengths[longer]) - lengths[longer]
        self._heap.flush()
        with self._heap.path.open("r+b") as file:
            file.truncate(end + int(lengths[longer].sum()))
        self._heap.map_again()
        records[rows[longer]] = np.stack([places, np.zeros_like(places)], axis=1)
