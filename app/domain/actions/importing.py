"""The import of a revision, as the worker sees it: planned, then completed or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.domain import gate
from app.domain.actions.ending import refuse_revision
from app.domain.actions.queueing import advance, ring_waiting, succeed
from app.domain.actions.running import require_fence
from app.domain.audit import WORKER
from app.domain.base import move
from app.domain.catalog import Dataset, Revision
from app.domain.reentry import Guard, newest_suppression
from app.infra.rows import Roles


@dataclass(frozen=True)
class ImportPlan:
    """What an import needs to know.

    Attributes:
        revision_id: Which revision.
        dataset_id: Of which dataset.
        number: Its number.
        folder: Where its row files go, below ``settings().rows_folder``.
        upload_key: Where the uploaded file is in the object store.
        roles: Which columns say what a row is.
        guard: Watches for what must not come back; None when nothing is suppressed.
        watermark: To be handed back to ``complete_import``.
    """

    revision_id: str
    dataset_id: str
    number: int
    folder: str
    upload_key: str
    roles: Roles
    guard: Guard | None
    watermark: int


def plan_import(tx: Session, job_id: str, fence: int) -> ImportPlan:
    """Read what an import needs.

    Raises:
        FenceLost: The job is another worker's now.
        ValueError: The uploaded file is gone.
    """
    job = require_fence(tx, job_id, fence)
    revision = tx.get_one(Revision, job.revision_id)
    dataset = tx.get_one(Dataset, revision.dataset_id)
    if revision.upload_key is None:
        raise ValueError("the revision has no upload")
    guard = Guard(tx, dataset, "drop" if revision.on_suppressed == "drop" else "refuse")
    return ImportPlan(
        revision_id=revision.id,
        dataset_id=dataset.id,
        number=revision.number,
        folder=revision.folder,
        upload_key=revision.upload_key,
        roles=Roles.from_json(dataset.columns),
        guard=guard or None,
        watermark=newest_suppression(tx, dataset.id),
    )


def complete_import(
    tx: Session,
    job_id: str,
    fence: int,
    *,
    rows: int,
    splits: Mapping[str, int],
    columns: Sequence[Mapping[str, Any]],
    dropped: int = 0,
    corrected: int = 0,
    watermark: int,
) -> bool:
    """Make an imported revision the dataset's newest ready one.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        rows: Rows imported.
        splits: Rows of each split.
        columns: Column specifications, as ``ColumnSpec.to_json`` writes them.
        dropped: Rows the guard took out.
        corrected: Cells the guard replaced.
        watermark: The plan's.

    Returns:
        False when a request suppressed more since the plan was made: nothing is written, and
        the file has to be imported again under a new plan.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    revision = tx.get_one(Revision, job.revision_id)
    if newest_suppression(tx, revision.dataset_id) != watermark:
        return False
    revision.rows = rows
    revision.splits = dict(splits)
    revision.columns = [dict(column) for column in columns]
    facts = {"rows": rows, "dropped": dropped, "corrected": corrected}
    move(tx, revision, "ready", WORKER, job_id=job.id, **facts)
    dataset = tx.get_one(Dataset, revision.dataset_id)
    dataset.revision = revision.number
    move(tx, dataset, "ready", WORKER, job_id=job.id, revision=revision.number)
    succeed(tx, job, WORKER)
    return True


def refuse_import(tx: Session, job_id: str, fence: int, error: dict[str, Any]) -> Revision:
    """Make a revision invalid because of its content.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    revision = tx.get_one(Revision, job.revision_id)
    job.error = error
    advance(tx, job, "failed", WORKER, code=error["code"])
    refuse_revision(tx, WORKER, revision, error)
    ring_waiting(tx, job.tenant_id)
    return revision


def forget_upload(tx: Session, revision_id: str) -> None:
    """Note that the uploaded file of a finished import is destroyed; withdrawals wait for it."""
    revision = tx.get(Revision, revision_id)
    if revision is not None:
        gate.enter(tx, revision.tenant_id)
        revision.upload_key = None
        tx.flush()
        ring_waiting(tx, revision.tenant_id)
