"""Rows of one data set revision in memory-mapped files.

The API process and workers read it without locks; one worker at a time erases rows or
overwrites cells in place, while others may have it mapped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.cells import Strings
from app.infra.rows.column import Column, Values
from app.infra.rows.columns import Cell, ColumnSpec, Roles
from app.infra.rows.errors import ReadOnlyStore, UnknownColumn, WrongType
from app.infra.rows.key_index import CHUNK, KeyIndex
from app.infra.rows.layout import (
    BEING_ERASED,
    ERASED,
    MARK,
    PRESENT,
    SPLIT,
    Header,
    column_stem,
)
from app.infra.rows.mapped import MappedFile
from app.infra.rows.overlay import Overlay
from app.infra.rows.strings import PackedStrings

Rows = NDArray[np.int64]
"""Row numbers; a row keeps its number for good."""


class RowStore:
    """One revision: find rows, read cells, overwrite cells, erase rows.

    Row numbers start at 0 and never change; an erased row leaves its place empty.

    Attributes:
        rows: Rows that were imported, erased ones included.
        columns: Every column but id, subject and split, by name.
        roles: Which column of the data played which role.
    """

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        """Map the store in ``folder``; erasures that were interrupted are finished if writable.

        Raises:
            DamagedStore: The files are missing or do not fit together.
        """
        header = Header.read(folder)
        self.rows = header.rows
        self.columns: dict[str, ColumnSpec] = {spec.name: spec for spec in header.columns}
        self.roles: Roles = header.roles
        self._writable = writable
        self._split_names = list(header.splits)
        self._marks = MappedFile(folder / "marks.cells", MARK, (self.rows,), writable=writable)
        self._splits = MappedFile(folder / "splits.cells", SPLIT, (self.rows,), writable=writable)
        self._ids = Strings(folder / "ids", self.rows, writable=writable)
        self._subjects = Strings(folder / "subjects", self.rows, writable=writable)
        self._by_id, self._by_subject = (
            KeyIndex(folder / name, keys, self.rows, header.seed, writable=writable)
            for name, keys in (("ids.index", self._ids), ("subjects.index", self._subjects))
        )
        self._columns = {
            spec.name: Column(column_stem(folder, number), spec, self.rows, writable=writable)
            for number, spec in enumerate(header.columns)
        }
        if writable:
            self.erase(np.flatnonzero(self._marks.array == BEING_ERASED))

    @classmethod
    def open(cls, folder: Path, *, writable: bool = False) -> Self:
        """Map the store in ``folder``; see the constructor.

        Raises:
            DamagedStore: The files are missing or do not fit together.
        """
        return cls(folder, writable=writable)

    def close(self) -> None:
        """Let go of the files; the store cannot be used afterwards."""
        self.__dict__.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is there -------------------------------------------------------------

    @property
    def erased_rows(self) -> int:
        """How many rows have been erased, to the end."""
        return self.rows - int(np.count_nonzero(self._marks.array))

    def present(self, rows: Rows) -> NDArray[np.bool_]:
        """Say of each row whether it has not been erased."""
        present: NDArray[np.bool_] = self._marks.array[_checked(rows)] == PRESENT
        return present

    def splits(self) -> dict[str, int]:
        """Count the present rows of each split."""
        counts = np.bincount(
            self._splits.array[self._marks.array == PRESENT], minlength=len(self._split_names) + 1
        )
        return dict(zip(self._split_names, counts[1:].tolist(), strict=True))

    # --- finding rows --------------------------------------------------------------

    def find(self, ids: Sequence[str]) -> Rows:
        """Return the row of each id; -1 where the id is unknown or its row erased."""
        found = np.full(len(ids), -1, np.int64)
        which, rows = self._by_id.find(PackedStrings.of(ids))
        kept = self._marks.array[rows] != ERASED
        found[which[kept]] = rows[kept]
        return found

    def find_subjects(self, subjects: Sequence[str]) -> tuple[Rows, NDArray[np.bool_]]:
        """Return all rows about the subjects, ascending, and whether each subject has any."""
        distinct = {subject: number for number, subject in enumerate(dict.fromkeys(subjects))}
        which, rows = self._by_subject.find(PackedStrings.of(list(distinct)))
        kept = self._marks.array[rows] != ERASED
        known = np.zeros(len(distinct), np.bool_)
        known[which[kept]] = True
        asked = np.fromiter((distinct[subject] for subject in subjects), np.int64, len(subjects))
        return np.unique(rows[kept]), known[asked]

    def with_labels(self, labels: Sequence[object]) -> Rows:
        """Return the present rows with any of the labels, ascending.

        A label that the column cannot hold is the label of no row.

        Raises:
            UnknownColumn: The data set has no label column.
        """
        name = self.roles.label
        if name is None or name not in self._columns:
            raise UnknownColumn(name or "label")
        column = self._columns[name]
        found = [np.empty(0, np.int64)]
        for label in labels:
            try:
                cell = column.spec.check(label)
            except WrongType:
                continue
            if cell is not None:
                found.append(column.with_label(cell))
        rows = np.unique(np.concatenate(found))
        return rows[self.present(rows)]

    def in_split(self, split: str | None) -> Rows:
        """Return the present rows of a split, ascending; of all splits for None."""
        present = self._marks.array == PRESENT
        if split is None:
            return np.flatnonzero(present)
        if split not in self._split_names:
            return np.empty(0, np.int64)
        return np.flatnonzero(present & (self._splits.array == self._split_names.index(split) + 1))

    def splits_of(self, rows: Rows) -> list[str | None]:
        """Return the name of the split of each row; None for none and for erased rows."""
        names = [None, *self._split_names]
        return [names[code] for code in self._splits.array[_checked(rows)].tolist()]

    # --- reading -------------------------------------------------------------------

    def ids(self, rows: Rows) -> list[str]:
        """Return the id of each row; empty for an erased one."""
        return self._ids.packed(_checked(rows)).texts()

    def subjects(self, rows: Rows) -> list[str | None]:
        """Return the subject of each row; None for nobody and for erased rows."""
        return [subject or None for subject in self._subjects.packed(_checked(rows)).texts()]

    def read(
        self, column: str, rows: Rows, overlay: Overlay | None = None
    ) -> tuple[Values, NDArray[np.bool_]]:
        """Return the cells of some rows, corrected by ``overlay``, and which are not null.

        Args:
            column: Name of the column.
            rows: Row numbers, ``(n,)``.
            overlay: Pending corrections, which count instead of the stored cells.

        Returns:
            Numbers ``(n,)`` or ``(n, length)`` in the column's type (a null is zeros) or a list
            of ``n`` strings (a null is None); and the mask ``(n,)`` of cells that are not null.

        Raises:
            UnknownColumn: There is no such column.
        """
        return self._column(column).read(_checked(rows), overlay)

    def cells(self, column: str, rows: Rows, overlay: Overlay | None = None) -> list[Cell]:
        """Return the same as canonical Python values, null as None.

        Raises:
            UnknownColumn: There is no such column.
        """
        values, valid = self.read(column, rows, overlay)
        cells = values if isinstance(values, list) else values.tolist()
        return [cell if is_valid else None for cell, is_valid in zip(cells, valid, strict=True)]

    # --- changing ------------------------------------------------------------------

    def overwrite(self, column: str, rows: Rows, values: Sequence[object]) -> None:
        """Replace cells for good: no byte of the old ones stays in the files.

        Erased rows are passed over; of equal rows the last counts. Done again after a crash
        it arrives at the same cells.

        Args:
            column: Name of the column.
            rows: Row numbers, ``(n,)``.
            values: ``n`` cells.

        Raises:
            UnknownColumn: There is no such column.
            WrongType: A value does not fit; nothing is changed then.
            ReadOnlyStore: The store was not opened for writing.
        """
        target = self._writable_column(column)
        last = dict(zip(rows.tolist(), map(target.spec.check, values), strict=True))
        distinct = np.fromiter(last, np.int64, len(last))
        kept = distinct[self.present(distinct)]
        target.overwrite(kept, [last[row] for row in kept.tolist()])
        target.flush()

    def write_overlay(self, overlay: Overlay) -> None:
        """Overwrite every cell that ``overlay`` corrects.

        Raises:
            UnknownColumn: It names a column that does not exist.
            WrongType: A cell does not fit its column.
            ReadOnlyStore: The store was not opened for writing.
        """
        for column in overlay.checked(self.columns).columns:
            for start in range(0, self.rows, CHUNK):
                rows = np.arange(start, min(start + CHUNK, self.rows))
                positions, cells = overlay.cells(column, rows)
                if cells:
                    self.overwrite(column, rows[positions], cells)

    def erase(self, rows: Rows) -> None:
        """Destroy rows: cells, id, subject, split and index entries become zero on the disk.

        Can be repeated. Interrupted at any point, it is finished when the store is next opened
        for writing. Nothing of the rows is left but that they were there.

        Raises:
            ReadOnlyStore: The store was not opened for writing.
        """
        if not self._writable:
            raise ReadOnlyStore("the store was opened for reading")
        rows = np.unique(_checked(rows))
        rows = rows[self._marks.array[rows] != ERASED]
        if not len(rows):
            return
        self._marks.array[rows] = BEING_ERASED
        self._marks.flush()
        for column in self._columns.values():
            column.erase(rows)
            column.flush()
        # An entry can only be found by hashing its key, so it goes before the key.
        for index, keys in ((self._by_subject, self._subjects), (self._by_id, self._ids)):
            index.remove(rows)
            index.flush()
            keys.erase(rows)
            keys.flush()
        self._splits.array[rows] = 0
        self._splits.flush()
        self._marks.array[rows] = ERASED
        self._marks.flush()

    def _column(self, name: str) -> Column:
        """Return a column by its name.

        Raises:
            UnknownColumn: There is no such column.
        """
        if name not in self._columns:
            raise UnknownColumn(name)
        return self._columns[name]

    def _writable_column(self, name: str) -> Column:
        """Return a column to be changed.

        Raises:
            UnknownColumn: There is no such column.
            ReadOnlyStore: The store was not opened for writing.
        """
        if not self._writable:
            raise ReadOnlyStore("the store was opened for reading")
        return self._column(name)


def _checked(rows: Rows) -> Rows:
    """Return the row numbers; -1, the answer for an unknown id, must not reach a cell.

    Raises:
        IndexError: A row number is negative.
    """
    if len(rows) and rows.min() < 0:
        raise IndexError("a row number is negative")
    return rows
