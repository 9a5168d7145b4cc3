"""What a job works on: the rows to forget, their replacements and the edited data.

Everything follows from the accepted requests, so two runs of one job on the same state of the
database see the same sets. Nothing here loops over a dataset: the sets are those of requests.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Revision, Version
from app.domain.jobs import Job
from app.domain.lineage import Forgotten, Origin, ancestry, origins
from app.domain.requests import TARGET_DONE_STATES, Request, RequestRows, Target, TargetJob
from app.domain.sealed_rows import (
    NO_ROWS,
    Rows,
    in_force,
    records,
    rows_of,
    union,
)
from app.domain.stores import opened
from app.infra.rows import Overlay

DELETION = "deletion"


@dataclass(frozen=True)
class Edits:
    """The edits of one dataset revision, seen from one version. Row sets are ascending.

    Attributes:
        dataset_id: The dataset.
        revision: Number of the revision the version (or its ancestor) was trained on.
        folder: Its row files, below ``settings().rows_folder``.
        split: Split that was trained on; None for every row.
        holdout_split: Split that is held out.
        forget: Present training rows the job's requests concern, not forgotten before.
        replaced: Those of them that come back with new cells.
        removed: Rows of every accepted deletion, in any split: leave them out of training
            and of held-out rows alike.
        trained: Cells as the version was trained on them, where the row files differ.
        edited: Cells after every accepted correction.
        pending: Training rows that other requests delete and that the version still holds; they are
            among ``removed``.
        is_separate: Whether no other unfinished request concerns the rows in ``forget``. If one
            does, what the job makes of them is not exactly what its own requests ask.
        requests: Ids of the requests that all this follows from.
    """

    dataset_id: str
    revision: int
    folder: str
    split: str | None
    holdout_split: str | None
    forget: Rows
    replaced: Rows
    removed: Rows
    trained: Overlay
    edited: Overlay
    pending: Rows = field(default_factory=lambda: NO_ROWS)
    is_separate: bool = True
    requests: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """What one job has to do.

    Attributes:
        version: The version it works on.
        kind: ``deletion``, ``label_correction``, ``feature_correction`` or ``mixed``.
        request_ids: The requests it serves, oldest first.
        own: Edits of the data the version itself was trained on.
        inherited: Edits of data only its ancestors were trained on.
    """

    version: Version
    kind: str
    request_ids: tuple[str, ...]
    own: Edits
    inherited: tuple[Edits, ...]

    @property
    def all_edits(self) -> tuple[Edits, ...]:
        """Return the edits of all data, the version's own first."""
        return (self.own, *self.inherited)

    @property
    def is_empty(self) -> bool:
        """Tell whether the version holds nothing of what is to be forgotten."""
        return not any(len(edits.forget) for edits in self.all_edits)


def view(tx: Session, job: Job) -> View:
    """Work out what a job has to do, as the requests stand in this transaction.

    Raises:
        ValueError: The job is not one that unlearns.
    """
    if job.version_id is None or job.kind != "unlearn":
        raise ValueError(f"a {job.kind} job has no edits")
    version = tx.get_one(Version, job.version_id)
    requests = list(
        tx.scalars(
            select(Request)
            .join(Target, Target.request_id == Request.id)
            .join(TargetJob, TargetJob.target_id == Target.id)
            .where(TargetJob.job_id == job.id, Target.state.not_in(TARGET_DONE_STATES))
            .order_by(Request.received_at, Request.id)
        )
    )
    own, *inherited = _edits(tx, version, [request.id for request in requests])
    return View(
        version=version,
        kind=_kind(requests),
        request_ids=tuple(request.id for request in requests),
        own=own,
        inherited=tuple(edits for edits in inherited if len(edits.forget)),
    )


def view_again(
    tx: Session,
    version: Version,
    served: Sequence[str],
    in_force: Collection[str],
    replaced: Mapping[tuple[str, int], Rows] | None = None,
) -> View:
    """Work out once more what an earlier job had to do.

    Rows and cells that were destroyed since are missing: whoever runs the job again has to
    compare what it reads.

    Args:
        tx: The transaction.
        version: What the job worked on.
        served: Ids of the requests it served.
        in_force: Ids of the requests that its edits followed from.
        replaced: Where the requests' own rows are destroyed: those that came back corrected, by
            data set and revision. Nothing is to be forgotten then.

    Returns:
        What the job had to do.
    """
    query = select(Request).where(Request.id.in_(served))
    requests = list(tx.scalars(query.order_by(Request.received_at, Request.id)))
    found = _edits(tx, version, [request.id for request in requests], in_force)
    if replaced is not None:
        found = [
            replace(
                edits,
                forget=NO_ROWS,
                replaced=replaced.get((edits.dataset_id, edits.revision), NO_ROWS),
            )
            for edits in found
        ]
    own, *inherited = found
    return View(
        version=version,
        kind=_kind(requests),
        request_ids=tuple(request.id for request in requests),
        own=own,
        inherited=tuple(e for e in inherited if len(e.forget) or len(e.replaced)),
    )


def standing(tx: Session, version: Version) -> Edits:
    """Return the accepted edits of a version's own data, without anything to forget."""
    return _edits(tx, version, [])[0]


def _edits(
    tx: Session,
    version: Version,
    request_ids: Sequence[str],
    only: Collection[str] | None = None,
) -> list[Edits]:
    known = ancestry(tx, [version.id])
    forgotten = Forgotten(tx, known)
    line = origins(known, version)
    first, *rest = (_edits_of(tx, origin, forgotten, request_ids, only) for origin in line)
    seen = {(first.dataset_id, first.revision, first.split)}
    found = [first]
    for edits in rest:
        place = (edits.dataset_id, edits.revision, edits.split)
        if place not in seen:
            found.append(edits)
        seen.add(place)
    return found


def _edits_of(
    tx: Session,
    origin: Origin,
    forgotten: Forgotten,
    request_ids: Sequence[str],
    only: Collection[str] | None,
) -> Edits:
    version = origin.version
    dataset_id, number = version.dataset_id, version.dataset_revision
    revision = tx.scalars(
        select(Revision).where(Revision.dataset_id == dataset_id, Revision.number == number)
    ).one()
    corrections = records(tx, dataset_id, number, "correction", only)
    deletions = records(tx, dataset_id, number, DELETION, only)
    removed = union(map(rows_of, deletions))
    served = list(
        tx.scalars(
            select(RequestRows).where(
                RequestRows.request_id.in_(request_ids),
                RequestRows.dataset_id == dataset_id,
                RequestRows.revision == number,
            )
        )
    )
    gone = forgotten.rows(origin.passed, dataset_id, number)
    concerned = _within(revision, version.training_split, served)
    forget = np.setdiff1d(concerned, gone, assume_unique=True)
    corrected = _within(
        revision, version.training_split, [row for row in served if row.corrections is not None]
    )
    done = forgotten.corrections(origin.passed)
    own = [row for row in served if row.corrections is None]
    held = np.setdiff1d(_within(revision, version.training_split, deletions), gone)
    pending = np.setdiff1d(held, _within(revision, version.training_split, own))
    others = [
        record
        for record in corrections
        if record.request_id not in done and record.request_id not in request_ids
    ]
    touched = np.union1d(pending, _within(revision, version.training_split, others))
    return Edits(
        dataset_id=dataset_id,
        revision=number,
        folder=revision.folder,
        split=version.training_split,
        holdout_split=version.holdout_split,
        forget=forget,
        replaced=np.setdiff1d(
            np.intersect1d(corrected, forget, assume_unique=True), removed, assume_unique=True
        ),
        removed=removed,
        trained=in_force(record for record in corrections if record.request_id in done),
        edited=in_force(corrections),
        pending=np.setdiff1d(pending, forget),
        is_separate=not len(np.intersect1d(touched, forget)),
        requests=tuple(record.request_id for record in (*deletions, *corrections)),
    )


def _within(revision: Revision, split: str | None, served: Sequence[RequestRows]) -> Rows:
    """Return the present rows of a split that the records name."""
    live = [record for record in served if record.rows is not None]
    if not live:
        return NO_ROWS
    with opened(revision) as store:
        if any(record.is_everything for record in live):
            return store.in_split(split)
        rows = union(map(rows_of, live))
        rows = rows[store.present(rows)]
        if split is None:
            return rows
        chosen: Rows = rows[np.array([name == split for name in store.splits_of(rows)], bool)]
        return chosen


def _kind(requests: Sequence[Request]) -> str:
    kinds = {
        DELETION if request.kind == DELETION else str(request.correction_kind)
        for request in requests
    }
    return kinds.pop() if len(kinds) == 1 else "mixed"
