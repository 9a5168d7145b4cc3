"""The guard at the import: what was deleted or corrected does not come back.

A row is dropped (or refuses the file) when its id or its subject is suppressed. A cell is
replaced (or refuses) when it holds the old value of a correction and is not the value in
force, or when its column was removed and it is anything but the replacement.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.catalog import Dataset, Revision
from app.domain.sealed_rows import in_force, records
from app.domain.stores import READY, opened
from app.domain.suppression import Suppression, as_single, canonical, digest_of, is_old
from app.infra.rows import Cell, Overlay

Mode = Literal["refuse", "drop"]


@dataclass(frozen=True)
class Verdict:
    """What a guard found in a batch of ``n`` rows.

    Attributes:
        drop: Mask ``(n,)`` of suppressed rows.
        replace: Cells to be replaced: column, position in the batch, cell in force.
        offending: Counts of ``samples``, ``subjects`` and ``values`` found.
    """

    drop: NDArray[np.bool_]
    replace: Sequence[tuple[str, int, Cell]] = ()
    offending: dict[str, int] = field(default_factory=dict)


def newest_suppression(tx: Session, dataset_id: str) -> int:
    """Return a number that grows with every suppression on a dataset."""
    query = select(func.max(Suppression.id)).where(Suppression.dataset_id == dataset_id)
    return tx.scalar(query) or 0


class Guard:
    """Judges the batches of one import; holds keyed digests only."""

    def __init__(self, tx: Session, dataset: Dataset, mode: Mode) -> None:
        """Read what is suppressed on a dataset."""
        self.mode: Mode = mode
        self._tenant_id = dataset.tenant_id
        self._dataset_id = dataset.id
        self._samples: set[bytes] = set()
        self._subjects: set[bytes] = set()
        self._values: dict[bytes, dict[str, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        self._columns: dict[str, Cell] = {}
        for row in tx.scalars(
            select(Suppression)
            .where(Suppression.dataset_id == dataset.id)
            .order_by(Suppression.id)
            .execution_options(yield_per=10_000)
        ):
            self._take(row)
        newest_first = select(Revision).where(
            Revision.dataset_id == dataset.id, Revision.state == READY
        )
        self._sources: list[tuple[Revision, Overlay]] = [
            (revision, in_force(records(tx, dataset.id, revision.number, "correction")))
            for revision in tx.scalars(newest_first.order_by(Revision.number.desc()))
        ]

    def __bool__(self) -> bool:
        """Tell whether there is anything to watch for."""
        return bool(self._samples or self._subjects or self._values or self._columns)

    def inspect(
        self,
        ids: Sequence[str],
        subjects: Sequence[str | None],
        cell: Callable[[str], Sequence[Cell]],
    ) -> Verdict:
        """Judge a batch.

        Args:
            ids: One per row.
            subjects: One per row; None for nobody.
            cell: Returns the canonical cells of a column; ``KeyError`` where there is none.

        Returns:
            What must not come in.
        """
        count = len(ids)
        drop = np.zeros(count, bool)
        found: Counter[str] = Counter()
        digests: list[bytes] = []
        if self._samples or self._values:
            digests = [self._digest("sample", id) for id in ids]
        if self._samples:
            hits = np.array([digest in self._samples for digest in digests], bool)
            found["samples"] += int(hits.sum())
            drop |= hits
        if self._subjects:
            hits = self._subject_hits(subjects)
            found["subjects"] += int((hits & ~drop).sum())
            drop |= hits
        replace = self._old_values(ids, digests, drop, cell) if self._values else {}
        self._removed_columns(ids, drop, cell, replace)
        found["values"] += len(replace)
        cells = [(column, position, value) for (column, position), value in replace.items()]
        return Verdict(drop, cells, {name: hits for name, hits in found.items() if hits})

    def _take(self, row: Suppression) -> None:
        if row.kind == "sample":
            self._samples.add(row.digest)
        elif row.kind == "subject":
            self._subjects.add(row.digest)
        elif row.kind == "value" and row.sample_digest is not None and row.column is not None:
            self._values[row.sample_digest][row.column].add(row.digest)
        elif row.kind == "column" and row.column is not None and row.replacement is not None:
            self._columns[row.column] = row.replacement["value"]

    def _digest(self, kind: str, *parts: str) -> bytes:
        return digest_of(self._tenant_id, self._dataset_id, kind, *parts)

    def _subject_hits(self, subjects: Sequence[str | None]) -> NDArray[np.bool_]:
        judged = {
            subject: self._digest("subject", subject) in self._subjects
            for subject in set(subjects)
            if subject is not None
        }
        return np.array([judged.get(subject or "", False) for subject in subjects], bool)

    def _old_values(
        self,
        ids: Sequence[str],
        digests: Sequence[bytes],
        drop: NDArray[np.bool_],
        cell: Callable[[str], Sequence[Cell]],
    ) -> dict[tuple[str, int], Cell]:
        suspects: dict[str, list[int]] = defaultdict(list)
        for position, digest in enumerate(digests):
            if digest in self._values and not drop[position]:
                for column in self._values[digest]:
                    suspects[column].append(position)
        replace: dict[tuple[str, int], Cell] = {}
        for column, positions in suspects.items():
            cells = _cells_or_none(cell, column)
            if cells is None:
                continue
            old = [
                position
                for position in positions
                if is_old(
                    (self._tenant_id, self._dataset_id),
                    ids[position],
                    column,
                    canonical(cells[position]),
                    self._values[digests[position]][column],
                )
            ]
            current = self._current([ids[position] for position in old], column)
            for position in old:
                if ids[position] in current:
                    value = current[ids[position]]
                    if canonical(value) == canonical(cells[position]):
                        continue
                    replace[column, position] = value
                else:
                    replace[column, position] = None
        return replace

    def _removed_columns(
        self,
        ids: Sequence[str],
        drop: NDArray[np.bool_],
        cell: Callable[[str], Sequence[Cell]],
        replace: dict[tuple[str, int], Cell],
    ) -> None:
        for column, value in self._columns.items():
            cells = _cells_or_none(cell, column)
            if cells is None:
                continue
            wanted = canonical(value)
            welcome = {wanted, as_single(wanted)}
            others = [
                position
                for position, found in enumerate(cells)
                if not drop[position] and canonical(found) not in welcome
            ]
            current = self._current([ids[position] for position in others], column)
            for position in others:
                # A later correction of one cell stands above the removal.
                in_place = current.get(ids[position], value)
                if canonical(in_place) != canonical(cells[position]):
                    replace[column, position] = in_place

    def _current(self, ids: Iterable[str], column: str) -> dict[str, Cell]:
        """Return the cells in force of the samples that some revision still holds."""
        left = list(dict.fromkeys(ids))
        current: dict[str, Cell] = {}
        for revision, overlay in self._sources:
            if not left:
                break
            with opened(revision) as store:
                if column not in store.columns:
                    continue
                rows = store.find(left)
                known = rows >= 0
                names = [id for id, is_known in zip(left, known, strict=True) if is_known]
                current.update(zip(names, store.cells(column, rows[known], overlay), strict=True))
            left = [id for id in left if id not in current]
        return current


def _cells_or_none(cell: Callable[[str], Sequence[Cell]], column: str) -> Sequence[Cell] | None:
    try:
        return cell(column)
    except KeyError:
        return None
