"""What is condemned is listed, destroyed by a worker, and recorded as destroyed.

The list follows from the database alone and destroying twice does no harm, so a worker that
dies in the middle is simply followed by another. Nothing live is ever on the list.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.domain import audit
from app.domain.actions.leftovers import Prefix, of_lost_attempts, prefixes_of
from app.domain.actions.queueing import succeed
from app.domain.actions.recording import forget_dataset, forget_inputs
from app.domain.actions.revoking import note_destroyed
from app.domain.actions.running import require_fence
from app.domain.audit import WORKER
from app.domain.base import move
from app.domain.catalog import Revision, Version, VersionTaint
from app.domain.jobs import JOB_DONE_STATES, Job
from app.domain.queries.jobs import of_request
from app.domain.requests import Request, RequestRows, Target
from app.domain.sealed_rows import Rows, corrections_of, records, reseal, rows_of
from app.domain.stores import opened
from app.infra import clock
from app.infra.rows import Overlay

CONDEMNED_STATE = "superseded"


@dataclass(frozen=True)
class Erasure:
    """Rows to be erased from the row files in ``folder``."""

    folder: str
    rows: Rows


@dataclass(frozen=True)
class Rewriting:
    """Cells to be written over in the row files in ``folder``."""

    folder: str
    overlay: Overlay


@dataclass(frozen=True)
class Plan:
    """What a withdrawal destroys. Folders are below ``settings().rows_folder``.

    Attributes:
        objects: Keys in the object store.
        prefixes: Further parts of the object store.
        erase: Rows to be erased.
        overwrite: Cells to be written over.
        row_folders: Row files to be removed as a whole.
        jobs: Jobs whose staging files go.
    """

    objects: tuple[str, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    erase: tuple[Erasure, ...] = ()
    overwrite: tuple[Rewriting, ...] = ()
    row_folders: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


def plan(tx: Session, job_id: str, fence: int) -> Plan:
    """List what a withdraw job has to destroy.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    if job.request_id is not None:
        return _request_plan(tx, tx.get_one(Request, job.request_id))
    if job.version_id is not None:
        version = tx.get_one(Version, job.version_id)
        return _plan_of(tx, [version], list(tx.scalars(_of_version(version.id))))
    revision = tx.get_one(Revision, job.revision_id)
    objects = () if revision.upload_key is None else (revision.upload_key,)
    return Plan(objects=objects, row_folders=(revision.folder,))


def complete(tx: Session, job_id: str, fence: int) -> Job:
    """Record that everything on the plan is destroyed.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    if job.request_id is not None:
        request = tx.get_one(Request, job.request_id)
        for version in _condemned(tx, request):
            version.withdrawn_at = clock.database_now(tx)
            _forget_objects(version)
            move(tx, version, "withdrawn", WORKER, request_id=request.id, job_id=job.id)
            note_destroyed(tx, version, job)
        forget_inputs(tx, request)
        _record_rows(tx, request, job)
        _finish(tx, request, job)
    elif job.version_id is not None:
        version = tx.get_one(Version, job.version_id)
        _forget_objects(version)
        note_destroyed(tx, version, job)
    else:
        revision = tx.get_one(Revision, job.revision_id)
        revision.upload_key = None
        forget_dataset(tx, revision.tenant_id, revision.dataset_id)
    succeed(tx, job, WORKER)
    return job


def _request_plan(tx: Session, request: Request) -> Plan:
    served = tx.scalars(select(Job).where(Job.id.in_(of_request(request.id))).order_by(Job.id))
    erase, overwrite = [], []
    for record, revision in _rows_kept(tx, request):
        if request.kind == "deletion":
            erase.append(Erasure(revision.folder, rows_of(record)))
        else:
            overwrite.append(Rewriting(revision.folder, corrections_of(record)))
    plan = _plan_of(tx, _condemned(tx, request), list(served))
    return replace(plan, erase=tuple(erase), overwrite=tuple(overwrite))


def _of_version(version_id: str) -> Select[Job]:
    return select(Job).where(Job.version_id == version_id).order_by(Job.id)


def _plan_of(tx: Session, versions: Sequence[Version], jobs: Sequence[Job]) -> Plan:
    """List the files of condemned versions and of attempts that nobody works on any more.

    A job may go on for another request while this one is withdrawn: what it is just storing
    is not touched, only what its earlier attempts have left.
    """
    over = [job for job in jobs if job.state in JOB_DONE_STATES]
    left = [key for job in jobs if job not in over for key in of_lost_attempts(tx, job)]
    return Plan(
        objects=(*_objects(versions), *left),
        prefixes=prefixes_of(tx, versions, over),
        jobs=tuple(job.id for job in over),
    )


def _condemned(tx: Session, request: Request) -> list[Version]:
    """Superseded versions that hold the influence of the request's rows."""
    query = (
        select(Version)
        .join(VersionTaint, VersionTaint.version_id == Version.id)
        .where(VersionTaint.request_id == request.id, Version.state == CONDEMNED_STATE)
        .order_by(Version.id)
    )
    return list(tx.scalars(query))


def _objects(versions: Iterable[Version]) -> tuple[str, ...]:
    keys = []
    for version in versions:
        keys += [version.weights_key, (version.curvature or {}).get("key")]
    return tuple(key for key in keys if key is not None)


def _rows_kept(tx: Session, request: Request) -> list[tuple[RequestRows, Revision]]:
    query = (
        select(RequestRows, Revision)
        .join(
            Revision,
            (Revision.dataset_id == RequestRows.dataset_id)
            & (Revision.number == RequestRows.revision),
        )
        .where(
            RequestRows.request_id == request.id,
            RequestRows.rows.is_not(None),
            Revision.state == "ready",
        )
        .order_by(Revision.number)
    )
    return [(record, revision) for record, revision in tx.execute(query)]


def _forget_objects(version: Version) -> None:
    version.weights_key = None
    version.curvature = None


def _record_rows(tx: Session, request: Request, job: Job) -> None:
    """Note what is gone from each revision, and forget which rows it was."""
    for record, revision in _rows_kept(tx, request):
        if request.kind == "deletion":
            with opened(revision) as store:
                revision.erased_rows = store.erased_rows
            _forget_cells(tx, record)
        else:
            _keep_above_earlier(tx, request, record)
        verb = "erased" if request.kind == "deletion" else "corrected"
        audit.append(
            tx,
            tenant_id=request.tenant_id,
            type=f"rows.{verb}",
            actor=WORKER,
            entity_kind=Revision.KIND,
            entity_id=revision.id,
            links=audit.Links(
                request_id=request.id,
                job_id=job.id,
                facts={
                    "dataset_id": revision.dataset_id,
                    "revision": revision.number,
                    "rows": record.count,
                },
            ),
        )
    for record in tx.scalars(select(RequestRows).where(RequestRows.request_id == request.id)):
        record.rows = None
        record.corrections = None
    tx.flush()


def _keep_above_earlier(tx: Session, request: Request, record: RequestRows) -> None:
    """Lay the cells just written over those of earlier corrections still to be written.

    Otherwise an earlier correction that is finished later would bring its cells back. What it
    would have written is an old value now, and not kept.
    """
    cells = corrections_of(record)
    for other in records(tx, record.dataset_id, record.revision, "correction"):
        if other.request_id == request.id:
            break
        earlier = corrections_of(other)
        for column in cells.columns:
            earlier = earlier.without(cells.rows_of(column), [column])
        reseal(other, earlier.merged(cells))


def _forget_cells(tx: Session, record: RequestRows) -> None:
    """Take what corrections were still to write into the rows just erased out of their records."""
    erased = rows_of(record)
    for other in records(tx, record.dataset_id, record.revision, "correction"):
        cells = corrections_of(other)
        if cells:
            reseal(other, cells.without(erased))


def _finish(tx: Session, request: Request, job: Job) -> None:
    cancelled = select(Target.id).where(
        Target.request_id == request.id, Target.state == "cancelled"
    )
    is_partial = tx.scalar(cancelled.limit(1)) is not None
    request.complete(clock.database_now(tx))
    to = "partially_fulfilled" if is_partial else "fulfilled"
    move(tx, request, to, WORKER, job_id=job.id)
