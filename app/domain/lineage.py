"""Which versions hold the influence of which rows.

A version a tenant uploads was trained on the rows of its split; one a job published was not
trained on anything new and descends from the version the job worked on. So the influence of
a row on a version comes from the uploaded versions on its line of descent, itself included,
less the rows that were forgotten on the way: by requests one of whose targets was fulfilled
with a version on that line.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from app.domain.catalog import Revision, Version
from app.domain.requests import Request, RequestRows, Target
from app.domain.sealed_rows import NO_ROWS, Rows, rows_of, union
from app.domain.stores import READY, opened

FULFILLED = "fulfilled"
RELATIVE = aliased(Version)
"""Stands for the parent or child in a walk; made once, since it is slow to make."""


@dataclass(frozen=True)
class Origin:
    """An uploaded version on a line of descent.

    Attributes:
        version: The uploaded version, whose split was trained on.
        passed: Ids of the versions between it and the one asked about, both included.
    """

    version: Version
    passed: tuple[str, ...]


def descendants(tx: Session, version_ids: Iterable[str]) -> list[Version]:
    """Return the versions and everything that descends from them, oldest first."""
    line = select(Version.id).where(Version.id.in_(list(version_ids))).cte(recursive=True)
    line = line.union(select(RELATIVE.id).join(line, RELATIVE.parent_id == line.c.id))
    query = select(Version).where(Version.id.in_(select(line.c.id))).order_by(Version.id)
    return list(tx.scalars(query))


def ancestry(tx: Session, version_ids: Iterable[str]) -> dict[str, Version]:
    """Return the versions and everything they descend from, by id."""
    line = (
        select(Version.id, Version.parent_id)
        .where(Version.id.in_(list(version_ids)))
        .cte(recursive=True)
    )
    line = line.union(
        select(RELATIVE.id, RELATIVE.parent_id).join(line, RELATIVE.id == line.c.parent_id)
    )
    query = select(Version).where(Version.id.in_(select(line.c.id)))
    return {version.id: version for version in tx.scalars(query)}


def origins(known: Mapping[str, Version], version: Version) -> list[Origin]:
    """Return the uploaded versions on the line of ``version``, nearest first.

    Args:
        known: Contains at least the whole line, as ``ancestry`` returns it.
        version: Where to begin.

    Returns:
        The nearest one is what ``version`` itself was trained on.
    """
    found = []
    passed: list[str] = []
    at: Version | None = version
    while at is not None:
        passed.append(at.id)
        if at.produced_by_job_id is None:
            found.append(Origin(at, tuple(passed)))
        at = known.get(at.parent_id) if at.parent_id else None
    return found


class Forgotten:
    """Rows that deletions have made versions forget and that are still in the row files."""

    def __init__(self, tx: Session, version_ids: Iterable[str]) -> None:
        query = (
            select(Target.result_version_id, Target.request_id, Request.kind)
            .join(Request, Request.id == Target.request_id)
            .where(
                Target.state == FULFILLED,
                Target.result_version_id.in_(list(version_ids)),
            )
        )
        self._tx = tx
        self._deletions: dict[str, set[str]] = defaultdict(set)
        self._corrections: dict[str, set[str]] = defaultdict(set)
        for version_id, request_id, kind in tx.execute(query):
            by_kind = self._deletions if kind == "deletion" else self._corrections
            by_kind[str(version_id)].add(request_id)
        self._rows: dict[tuple[str, str, int], Rows] = {}

    def corrections(self, passed: Iterable[str]) -> set[str]:
        """Return the corrections fulfilled by one of the versions."""
        return set().union(*(self._corrections.get(version_id, set()) for version_id in passed))

    def rows(self, passed: Iterable[str], dataset_id: str, revision: int) -> Rows:
        """Return the rows of one revision that one of the versions was made to forget."""
        requests = set().union(*(self._deletions.get(version_id, set()) for version_id in passed))
        return union(self._of(request_id, dataset_id, revision) for request_id in requests)

    def _of(self, request_id: str, dataset_id: str, revision: int) -> Rows:
        place = (request_id, dataset_id, revision)
        if place not in self._rows:
            record = self._tx.get(RequestRows, place)
            self._rows[place] = NO_ROWS if record is None else rows_of(record)
        return self._rows[place]


class NamedRows:
    """The present rows of one dataset that a request names, by revision and split."""

    def __init__(self, rows: Mapping[Revision, Rows | None]) -> None:
        """Take the rows of each revision; None stands for every row."""
        self._rows = {revision.number: (revision, rows[revision]) for revision in rows}
        self._splits: dict[tuple[int, str | None], Rows] = {}

    def revisions(self) -> dict[int, Rows | None]:
        """Return the rows by number of the revision."""
        return {number: rows for number, (_, rows) in self._rows.items()}

    def within(self, revision: int, split: str | None) -> Rows:
        """Return the rows in a split (all of the revision for None), ascending."""
        place = (revision, split)
        if place not in self._splits:
            self._splits[place] = self._read(revision, split)
        return self._splits[place]

    def _read(self, number: int, split: str | None) -> Rows:
        if number not in self._rows:
            return NO_ROWS
        revision, rows = self._rows[number]
        if rows is not None and not len(rows):
            return NO_ROWS
        with opened(revision) as store:
            if rows is None:
                return store.in_split(split)
            rows = rows[store.present(rows)]
            if split is None:
                return rows
            codes = np.array([name == split for name in store.splits_of(rows)], bool)
            chosen: Rows = rows[codes]
            return chosen


def named_by(tx: Session, request: Request) -> NamedRows:
    """Return the rows a request holds; none once they are destroyed."""
    found = tx.execute(
        select(RequestRows, Revision)
        .join(
            Revision,
            (Revision.dataset_id == RequestRows.dataset_id)
            & (Revision.number == RequestRows.revision),
        )
        .where(
            RequestRows.request_id == request.id,
            RequestRows.rows.is_not(None),
            Revision.state == READY,
        )
    )
    return NamedRows({
        revision: None if record.is_everything else rows_of(record) for record, revision in found
    })


@dataclass(frozen=True)
class Reached:
    """A version a request concerns, with the number of its training rows concerned."""

    version: Version
    rows: int


def reached(tx: Session, dataset_id: str, named: NamedRows) -> list[Reached]:
    """Find every version that holds the influence of named rows, whatever its state.

    Args:
        tx: The transaction, past the tenant's gate.
        dataset_id: The rows' dataset.
        named: The rows.

    Returns:
        Oldest version first.
    """
    trained = tx.scalars(
        select(Version).where(
            Version.dataset_id == dataset_id,
            Version.dataset_revision.in_(list(named.revisions())),
            Version.produced_by_job_id.is_(None),
        )
    )
    first = [
        version.id
        for version in trained
        if len(named.within(version.dataset_revision, version.training_split))
    ]
    if not first:
        return []
    candidates = descendants(tx, first)
    known = ancestry(tx, [version.id for version in candidates])
    forgotten = Forgotten(tx, known)
    found = []
    for version in candidates:
        count = _held(known, forgotten, version, dataset_id, named)
        if count:
            found.append(Reached(version, count))
    return found


def holds(tx: Session, version: Version, dataset_id: str, named: NamedRows) -> int:
    """Return how many of the named rows a version still holds the influence of."""
    known = ancestry(tx, [version.id])
    return _held(known, Forgotten(tx, known), version, dataset_id, named)


def _held(
    known: Mapping[str, Version],
    forgotten: Forgotten,
    version: Version,
    dataset_id: str,
    named: NamedRows,
) -> int:
    held: dict[int, list[Rows]] = defaultdict(list)
    for origin in origins(known, version):
        trained = origin.version
        if trained.dataset_id != dataset_id:
            continue
        rows = named.within(trained.dataset_revision, trained.training_split)
        if len(rows):
            gone = forgotten.rows(origin.passed, dataset_id, trained.dataset_revision)
            held[trained.dataset_revision].append(np.setdiff1d(rows, gone, assume_unique=True))
    return sum(len(union(parts)) for parts in held.values())
