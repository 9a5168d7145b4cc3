"""What a run depended on is recorded, and its keys are destroyed with the rows it read."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from app.domain.actions.running import require_fence
from app.domain.canonical import digest_of_document
from app.domain.requests import Request, RequestRows
from app.domain.runs import RunRecord, seal_key, seal_rows
from app.domain.sealed_rows import Rows

KEY_BYTES = 32


def _new_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


@dataclass(frozen=True)
class RunKeys:
    """The two keys of a record's digests.

    Attributes:
        lasting: For rows that the run leaves behind.
        passing: For rows as they were.
    """

    lasting: bytes = field(default_factory=_new_key)
    passing: bytes = field(default_factory=_new_key)


def record_run(
    tx: Session,
    job_id: str,
    fence: int,
    document: Mapping[str, Any],
    keys: RunKeys,
    replaced: Mapping[tuple[str, int], Rows] | None = None,
) -> RunRecord:
    """Record what a job ran on, in the place of what an earlier attempt recorded.

    Args:
        tx: The transaction.
        job_id: Which job.
        fence: The claim's.
        document: The facts.
        keys: Of the digests among them.
        replaced: Rows that came back corrected, by data set and revision, if they are needed to
            run the job again after its requests have ended.

    Returns:
        The record.

    Raises:
        FenceLost: The job is another worker's now.
    """
    job = require_fence(tx, job_id, fence)
    record = tx.get(RunRecord, job_id) or RunRecord(job_id=job_id, tenant_id=job.tenant_id)
    record.document = dict(document)
    record.sha256 = digest_of_document(document)
    record.lasting_key = seal_key(job.tenant_id, job_id, keys.lasting, "lasting")
    record.passing_key = seal_key(job.tenant_id, job_id, keys.passing, "passing")
    record.replaced = None if not replaced else seal_rows(job.tenant_id, job_id, replaced)
    tx.add(record)
    tx.flush()
    return record


def forget_inputs(tx: Session, request: Request) -> None:
    """Destroy the keys of what a request that ends takes from the rows.

    A run that knew of the request has left its rows out, or had them with their new cells: what
    it leaves behind is as it was. Every other run has read what is gone now.
    """
    named = tx.scalars(
        select(RequestRows).where(RequestRows.request_id == request.id, RequestRows.count > 0)
    )
    revisions = [record.revision for record in named]
    for record in _with_keys(tx, request.tenant_id):
        if any(record.reads(request.dataset_id, revision) for revision in revisions):
            record.passing_key = None
            if request.id not in record.in_force:
                record.lasting_key = record.replaced = None
    tx.flush()


def forget_dataset(tx: Session, tenant_id: str, dataset_id: str) -> None:
    """Destroy the keys of all runs that read a data set whose row files are destroyed."""
    for record in _with_keys(tx, tenant_id):
        if record.reads(dataset_id):
            record.passing_key = record.lasting_key = record.replaced = None
    tx.flush()


def _with_keys(tx: Session, tenant_id: str) -> list[RunRecord]:
    query = select(RunRecord).where(
        RunRecord.tenant_id == tenant_id,
        or_(RunRecord.lasting_key.is_not(None), RunRecord.passing_key.is_not(None)),
    )
    return list(tx.scalars(query))
