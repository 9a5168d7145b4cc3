"""Writing a store once, batch by batch, in bounded memory.

Everything is written next to its place, in ``<folder>.partial-<random>``, and renamed when it
is complete and on the disk: a store is there entirely or not at all.
"""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.cells import RECORD, Strings, as_numbers
from app.infra.rows.columns import Cell, ColumnSpec, Roles
from app.infra.rows.errors import DuplicateIds, NoRows, NullIds, StoreExists, TooManySplits
from app.infra.rows.key_index import build_index
from app.infra.rows.layout import MARK, PRESENT, SPLIT, Header, column_stem
from app.infra.rows.strings import SLACK, PackedStrings

MOST_SPLITS = 1000
"""More names than that are no split of a data set."""


@dataclass(frozen=True)
class Cells:
    """Cells of one column in a batch of ``n`` rows.

    Attributes:
        values: Numbers ``(n,)`` or ``(n, length)``, or strings.
        valid: Mask ``(n,)`` of cells that are not null; None when none is.
    """

    values: NDArray[Any] | PackedStrings
    valid: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, spec: ColumnSpec, cells: Sequence[Cell]) -> Self:
        """Make them from Python values."""
        valid = np.array([cell is not None for cell in cells], np.bool_)
        if spec.kind == "string":
            texts = ["" if cell is None else str(cell) for cell in cells]
            return cls(PackedStrings.of(texts), valid)
        return cls(as_numbers(cells, spec.storage, spec.shape), valid)

    def canonical(self) -> list[Cell]:
        """Return them as Python values, null as None."""
        values = self.values.texts() if isinstance(self.values, PackedStrings) else self.values
        cells = values if isinstance(values, list) else values.tolist()
        if self.valid is None:
            return list(cells)
        return [cell if valid else None for cell, valid in zip(cells, self.valid, strict=True)]

    def take(self, positions: NDArray[np.int64]) -> "Cells":
        """Return the cells at ``positions``."""
        valid = None if self.valid is None else self.valid[positions]
        if isinstance(self.values, PackedStrings):
            return Cells(self.values.take(positions), valid)
        return Cells(self.values[positions], valid)

    @property
    def nbytes(self) -> int:
        """Bytes that they take in a store, about."""
        if isinstance(self.values, PackedStrings):
            return 17 * len(self.values) + int(self.values.lengths.sum())
        return self.values.nbytes + len(self.values)


@dataclass(frozen=True)
class RowBatch:
    """``n`` rows. An empty id is no id, an empty subject nobody, an empty split none.

    Attributes:
        ids: One id per row.
        columns: Cells of every column of the store, by name.
        subjects: One subject per row; None for a data set without subjects.
        splits: One split per row; None for a data set without splits.
    """

    ids: PackedStrings
    columns: Mapping[str, Cells]
    subjects: PackedStrings | None = None
    splits: PackedStrings | None = None


class RowWriter:
    """Writes a new store; what is not finished is deleted when the context ends."""

    def __init__(self, folder: Path, columns: Sequence[ColumnSpec], roles: Roles) -> None:
        """Begin; what an interrupted attempt at the same place left behind is deleted.

        Args:
            folder: Where the store will be; its parent exists.
            columns: Every column but id, subject and split.
            roles: Which column of the data plays which role.

        Raises:
            StoreExists: There is something at ``folder``.
        """
        if folder.exists():
            raise StoreExists(f"{folder.name} is there already")
        delete_partial(folder)
        self._folder = folder
        self._partial = folder.with_name(f"{folder.name}.partial-{secrets.token_hex(8)}")
        self._partial.mkdir(mode=0o700)
        self._columns = list(columns)
        self._roles = roles
        self._rows = 0
        self._null_ids = 0
        self._splits: dict[str, int] = {}
        self._files: dict[Path, BinaryIO] = {}
        self._heap_sizes: dict[Path, int] = {}

    @classmethod
    def create(cls, folder: Path, columns: Sequence[ColumnSpec], roles: Roles) -> Self:
        """Begin a store; see the constructor.

        Raises:
            StoreExists: There is something at ``folder``.
        """
        return cls(folder, columns, roles)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def append(self, batch: RowBatch) -> None:
        """Write the rows of a batch behind the earlier ones.

        Raises:
            TooManySplits: There are more than ``MOST_SPLITS`` names in the split column.
        """
        count = len(batch.ids)
        nothing = PackedStrings.of([""] * count)
        self._null_ids += int(np.count_nonzero(batch.ids.lengths == 0))
        self._write_strings(self._partial / "ids", batch.ids)
        self._write_strings(self._partial / "subjects", batch.subjects or nothing)
        self._write(self._partial / "splits.cells", self._split_codes(batch.splits or nothing))
        self._write(self._partial / "marks.cells", np.full(count, PRESENT, MARK))
        for number, spec in enumerate(self._columns):
            self._write_cells(column_stem(self._partial, number), spec, batch.columns[spec.name])
        self._rows += count

    def finish(self) -> None:
        """Build the indexes, bring everything to the disk and give the store its place.

        Raises:
            NoRows: Nothing was appended.
            NullIds: Rows have no id.
            DuplicateIds: Ids repeat.
            StoreExists: Something has appeared in the store's place.
        """
        if self._rows == 0:
            raise NoRows
        if self._null_ids:
            raise NullIds(self._null_ids)
        self._close_files()
        seed = secrets.randbits(63)
        for name in ("ids", "subjects"):
            keys = Strings(self._partial / name, self._rows, writable=False)
            path = self._partial / f"{name}.index"
            repeated = build_index(path, keys, self._rows, seed, unique=name == "ids")
            if repeated:
                raise DuplicateIds(repeated)
        Header(self._rows, self._columns, self._roles, list(self._splits), seed).write(
            self._partial
        )
        for path in self._partial.iterdir():
            _sync(path)
        _sync(self._partial)
        # Renaming onto an empty folder would succeed.
        if self._folder.exists():
            raise StoreExists(f"{self._folder.name} has appeared")
        self._partial.rename(self._folder)
        _sync(self._folder.parent)

    def discard(self) -> None:
        """Delete what was written; nothing happens after ``finish``."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def _split_codes(self, splits: PackedStrings) -> NDArray[np.uint16]:
        """Return the number of each row's split, naming new ones.

        Raises:
            TooManySplits: There are too many names.
        """
        codes = []
        for name in splits.texts():
            if name and name not in self._splits:
                if len(self._splits) == MOST_SPLITS:
                    raise TooManySplits(MOST_SPLITS + 1)
                self._splits[name] = len(self._splits) + 1
            codes.append(self._splits.get(name, 0))
        return np.array(codes, SPLIT)

    def _write_cells(self, stem: Path, spec: ColumnSpec, cells: Cells) -> None:
        """Append the cells of one column; nulls are zeros."""
        valid = cells.valid
        if isinstance(cells.values, PackedStrings):
            lengths = cells.values.lengths
            if valid is not None:
                lengths = np.where(valid, lengths, 0)
            self._write_strings(
                stem, PackedStrings(cells.values.data, cells.values.starts, lengths)
            )
        else:
            values = np.asarray(cells.values, spec.storage)
            if valid is not None and not valid.all():
                values = values.copy()
                values[~valid] = 0
            self._write(stem.with_suffix(".cells"), values)
        if spec.nullable:
            marks = np.ones(len(cells.values), np.uint8) if valid is None else valid
            self._write(stem.with_suffix(".valid"), np.asarray(marks, np.uint8))

    def _write_strings(self, stem: Path, strings: PackedStrings) -> None:
        """Append strings to a heap, and where they are."""
        end = self._heap_sizes.get(stem, 0)
        starts = end + np.cumsum(strings.lengths) - strings.lengths
        self._write(
            stem.with_suffix(".cells"), np.stack([starts, strings.lengths], 1, dtype=RECORD)
        )
        self._write(stem.with_suffix(".heap"), strings.joined())
        self._heap_sizes[stem] = end + int(strings.lengths.sum())

    def _write(self, path: Path, values: NDArray[Any]) -> None:
        """Append numbers to a file."""
        if path not in self._files:
            self._files[path] = path.open("wb")
        self._files[path].write(np.ascontiguousarray(values).data)

    def _close_files(self) -> None:
        """End the heaps with slack and write out what is buffered."""
        for path, file in self._files.items():
            if path.suffix == ".heap":
                file.write(bytes(SLACK))
            file.close()


def delete_partial(folder: Path) -> None:
    """Delete what interrupted attempts to write the store at ``folder`` left behind."""
    for leftover in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
