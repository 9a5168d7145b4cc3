"""Importing a Parquet file into a row store, once, in bounded memory.

Afterwards a request costs its own rows: nothing reads Parquet again.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.infra.rows import (
    Cell,
    Cells,
    ColumnSpec,
    DuplicateIds,
    NoRows,
    NullIds,
    PackedStrings,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
    TooManySplits,
    delete_partial,
)
from workers.sources import arrow_columns
from workers.sources.errors import ImportRefused
from workers.sources.guard import Guard, Verdict

MAGIC = b"PAR1"
BATCH_BYTES = 1 << 22
"""Fixed-width bytes of one batch; a few copies of a batch exist at once."""
MOST_BATCH_ROWS = 1 << 14


@dataclass(frozen=True)
class Imported:
    """What an import brought.

    Attributes:
        rows: Rows in the store.
        splits: Rows of each split.
        dropped: Suppressed rows that were left out.
        corrected: Old values that were replaced by the corrected ones.
    """

    rows: int
    splits: dict[str, int]
    dropped: int
    corrected: int


def _unheard(_: float) -> None:
    """Take no notice of progress."""


def import_parquet(
    path: Path,
    folder: Path,
    roles: Roles,
    *,
    guard: Guard | None = None,
    progress: Callable[[float], None] = _unheard,
    largest_bytes: int | None = None,
) -> Imported:
    """Write the rows of a Parquet file to a new store at ``folder``.

    Every column but id, subject and split becomes a column of the store; see
    ``arrow_columns`` for the types. Anonymous memory does not grow with the file: pages are
    decoded one after the other even when the file is a single row group.

    Args:
        path: The file.
        folder: Where the store will be.
        roles: Which columns say what a row is.
        guard: Looks for suppressed rows and old values.
        progress: Called with the fraction done; what it raises ends the import.
        largest_bytes: Bound on the size of the store; by default nine tenths of what the disk has
            free.

    Returns:
        Counts of what was imported.

    Raises:
        ImportRefused: The file is unusable; nothing is left on disk.
        StoreExists: There is something at ``folder``.
    """
    delete_partial(folder)
    with _opened(path) as file:
        columns = _columns(file, roles)
        limit = largest_bytes
        if limit is None:
            # The rest is for the database, which has to go on when this does not.
            limit = shutil.disk_usage(folder.parent).free * 9 // 10
        if file.metadata.num_rows * _row_bytes(columns) > limit:
            raise ImportRefused("too-large", "the rows take more space than there is")
        with RowWriter.create(folder, columns, roles) as writer:
            run = _Import(file, writer, columns, roles, guard, limit, path)
            run.copy(progress)
            run.finish()
    progress(1.0)
    with RowStore.open(folder) as store:
        return Imported(store.rows, store.splits(), run.dropped, run.corrected)


class _Import:
    """One import under way; it counts what the guard found."""

    def __init__(
        self,
        file: pq.ParquetFile,
        writer: RowWriter,
        columns: list[ColumnSpec],
        roles: Roles,
        guard: Guard | None,
        limit: int,
        path: Path,
    ) -> None:
        self.file = file
        self.path = path
        self.writer = writer
        self.columns = columns
        self.roles = roles
        self.guard = guard
        self.room = limit
        self.dropped = 0
        self.corrected = 0
        self.offending: dict[str, int] = {}

    def copy(self, progress: Callable[[float], None]) -> None:
        """Append every batch of the file to the store.

        Raises:
            ImportRefused: A batch is unusable.
        """
        done = 0
        width = _row_bytes(self.columns) + _string_bytes(self.file, self.path)
        size = max(1, min(MOST_BATCH_ROWS, BATCH_BYTES // width))
        for batch in _batches(self.file, size):
            try:
                rows = self._converted(batch)
            except pa.ArrowException:
                raise ImportRefused("not-parquet", "the pages contradict themselves") from None
            done += len(rows.ids)
            rows = self._guarded(rows)
            self.room -= _size(rows)
            if self.room < 0:
                raise ImportRefused("too-large", "the rows take more space than there is")
            if not self.offending or (self.guard and self.guard.mode == "drop"):
                try:
                    self.writer.append(rows)
                except TooManySplits:
                    arrow_columns.refuse(str(self.roles.split), "has too many names for a split")
            progress(0.9 * done / max(done, self.file.metadata.num_rows))

    def finish(self) -> None:
        """Complete the store.

        Raises:
            ImportRefused: The rows as a whole are unusable.
        """
        if self.offending and self.guard and self.guard.mode == "refuse":
            raise ImportRefused(
                "suppressed-samples",
                "the file brings back what was deleted or corrected",
                self.offending,
            )
        try:
            self.writer.finish()
        except NoRows:
            raise ImportRefused("no-rows", "there are no rows", {"rows": 0}) from None
        except NullIds as error:
            raise ImportRefused("null-ids", "rows have no id", {"rows": error.count}) from None
        except DuplicateIds as error:
            raise ImportRefused(
                "duplicate-ids", "ids are not unique", {"rows": error.count}
            ) from None

    def _converted(self, batch: pa.RecordBatch) -> RowBatch:
        """Return a batch as rows of the store.

        Raises:
            ImportRefused: A column cannot be kept.
        """

        def role(name: str | None) -> PackedStrings | None:
            return None if name is None else arrow_columns.texts(batch.column(name), name)

        return RowBatch(
            ids=arrow_columns.texts(batch.column(self.roles.id), self.roles.id),
            subjects=role(self.roles.subject),
            splits=role(self.roles.split),
            columns={
                spec.name: arrow_columns.cells(batch.column(spec.name), spec)
                for spec in self.columns
            },
        )

    def _guarded(self, rows: RowBatch) -> RowBatch:
        """Return what the guard leaves of a batch, and count what it found."""
        if self.guard is None:
            return rows
        subjects = [None] * len(rows.ids) if rows.subjects is None else rows.subjects.texts()
        verdict = self.guard.inspect(
            rows.ids.texts(),
            [subject or None for subject in subjects],
            lambda name: rows.columns[name].canonical(),
        )
        for name, count in verdict.offending.items():
            if count:
                self.offending[name] = self.offending.get(name, 0) + count
        if self.guard.mode == "refuse":
            return rows
        self.dropped += int(np.count_nonzero(verdict.drop))
        self.corrected += sum(not verdict.drop[position] for _, position, _ in verdict.replace)
        return _applied(rows, verdict, {spec.name: spec for spec in self.columns})


def _applied(rows: RowBatch, verdict: Verdict, specs: dict[str, ColumnSpec]) -> RowBatch:
    """Return a batch with cells replaced, then rows dropped."""
    columns = dict(rows.columns)
    by_column: dict[str, dict[int, Cell]] = {}
    for name, position, cell in verdict.replace:
        by_column.setdefault(name, {})[position] = cell
    for name, replaced in by_column.items():
        old = columns[name].canonical()
        new = [replaced.get(position, cell) for position, cell in enumerate(old)]
        columns[name] = Cells.of(specs[name], new)
    if not verdict.drop.any():
        return replace(rows, columns=columns)
    kept: NDArray[np.int64] = np.flatnonzero(~verdict.drop)
    return RowBatch(
        ids=rows.ids.take(kept),
        columns={name: column.take(kept) for name, column in columns.items()},
        subjects=None if rows.subjects is None else rows.subjects.take(kept),
        splits=None if rows.splits is None else rows.splits.take(kept),
    )


def _opened(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        ImportRefused: It is none (``not-parquet``) or lacks its end (``truncated-parquet``).
    """
    with path.open("rb") as raw:
        head = raw.read(len(MAGIC))
        size = raw.seek(0, 2)
        raw.seek(max(0, size - len(MAGIC)))
        tail = raw.read()
    if head != MAGIC:
        raise ImportRefused("not-parquet", "the content is not Parquet")
    if tail != MAGIC or size < 3 * len(MAGIC):
        raise ImportRefused("truncated-parquet", "the end of the Parquet file is missing")
    try:
        # Mapped, and without reading ahead, a column chunk of any size is read page by page.
        return pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError):
        raise ImportRefused("not-parquet", "the footer cannot be read") from None


def _columns(file: pq.ParquetFile, roles: Roles) -> list[ColumnSpec]:
    """Return the columns of the store.

    Raises:
        ImportRefused: Role columns are missing (``missing-columns``), or a column cannot be
            kept (``unsupported-column``).
    """
    schema = file.schema_arrow
    named = (roles.id, roles.subject, roles.split, roles.label)
    missing = {name for name in named if name is not None and name not in schema.names}
    if missing:
        listed = ", ".join(sorted(missing))
        raise ImportRefused("missing-columns", f"not there: {listed}", {"columns": len(missing)})
    for name in schema.names:
        if schema.names.count(name) > 1:
            arrow_columns.refuse(name, "is there more than once")
    apart = {roles.id, roles.subject, roles.split} - {roles.label}
    return [
        arrow_columns.column_spec(field, _list_length(file, field))
        for field in schema
        if field.name not in apart
    ]


def _list_length(file: pq.ParquetFile, field: pa.Field) -> int | None:
    """Return how many numbers the first list of a column holds; None when there is no list.

    Raises:
        ImportRefused: The column cannot be read (``not-parquet``).
    """
    if not arrow_columns.is_list(field.type):
        return None
    if pa.types.is_fixed_size_list(field.type):
        return int(field.type.list_size)
    for batch in _batches(file, 64, [field.name]):
        lists = batch.column(field.name).drop_null()
        if len(lists):
            return len(lists[0])
    return None


def _batches(
    file: pq.ParquetFile, size: int, columns: list[str] | None = None, group: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield a file's batches of ``size`` rows, or those of one row group.

    Raises:
        ImportRefused: The pages cannot be decoded (``not-parquet``).
    """
    groups = None if group is None else [group]
    batches = file.iter_batches(
        batch_size=size, row_groups=groups, columns=columns, use_threads=False
    )
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, ValueError):
            raise ImportRefused("not-parquet", "the pages cannot be decoded") from None
        if batch is None:
            return
        yield batch


def _row_bytes(columns: list[ColumnSpec]) -> int:
    """Return the bytes of one row in the store, but for the bytes of strings."""
    # id, subject: 16 each for the place and about 16 for the index; split, mark.
    fixed = 67
    for spec in columns:
        width = 16 if spec.kind == "string" else spec.storage.itemsize * (spec.length or 1)
        fixed += width + spec.nullable
    return fixed


def _string_bytes(file: pq.ParquetFile, path: Path) -> int:
    """Return how many bytes the strings of a row may take once they are written out.

    In the pages a string may stand once, in a dictionary, and be repeated by every row: the
    longest string of the dictionaries counts, or the average of what stands there if that is more.

    Raises:
        ImportRefused: A cell is too long (``unsupported-column``), or the dictionaries cannot be
            decoded (``not-parquet``).
    """
    names = arrow_columns.string_names(file.schema_arrow)
    most = 0
    with pq.ParquetFile(
        path, memory_map=True, pre_buffer=False, read_dictionary=names
    ) as dictionaries:
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            average = {
                chunk.path_in_schema: chunk.total_uncompressed_size // max(1, group.num_rows)
                for chunk in map(group.column, range(group.num_columns))
            }
            width = 0
            for name in names:
                arrow_columns.check_length(name, average.get(name, 0))
                first = next(_batches(dictionaries, 1, [name], number), None)
                longest = 0 if first is None else arrow_columns.longest_word(first.column(0))
                arrow_columns.check_length(name, longest)
                width += max(longest, average.get(name, 0))
            most = max(most, width)
    return most


def _size(rows: RowBatch) -> int:
    """Return the bytes that a batch takes in the store."""
    size = 67 * len(rows.ids) + int(rows.ids.lengths.sum())
    for column in rows.columns.values():
        size += column.nbytes
    return size
