"""The import job: an uploaded Parquet file becomes the row files of a revision.

Whatever the outcome, the upload is destroyed afterwards: the rows live in one place only, where
they can be erased.
"""

from pathlib import Path

import structlog

from app.domain.actions import importing
from app.domain.actions.importing import ImportPlan
from app.domain.failures import failure
from app.infra import db
from app.infra.rows import RowStore
from app.infra.settings import settings
from app.infra.storage import open_store
from workers.lease import Lease
from workers.row_folders import (
    attempt_folder,
    remove_attempts,
    remove_earlier_attempts,
    remove_store,
    take_place,
)
from workers.sources.errors import ImportRefused
from workers.sources.parquet import Imported, import_parquet

log = structlog.get_logger(__name__)


def run(lease: Lease) -> None:
    """Import a revision's upload, or record why it cannot be."""
    while not _attempt(lease):
        lease.check()


def _attempt(lease: Lease) -> bool:
    """Import once; False when the suppression list changed meanwhile and it has to be redone."""
    with lease.recording() as tx:
        plan = importing.plan_import(tx, lease.job_id, lease.fence)
    folder = settings().rows_folder / plan.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_earlier_attempts(folder, lease.fence)
    try:
        imported = _import(lease, plan, attempt_folder(folder, lease.fence))
    except ImportRefused as refusal:
        error = failure(refusal.code, refusal.detail, **refusal.counts)
        with lease.recording() as tx:
            importing.refuse_import(tx, lease.job_id, lease.fence, error)
        remove_store(folder)
        log.info("revision.refused", revision_id=plan.revision_id, code=refusal.code)
    else:
        if not _complete(lease, plan, folder, imported):
            return False
        remove_attempts(folder)
        log.info("revision.ready", revision_id=plan.revision_id, rows=imported.rows)
    _destroy_upload(plan)
    return True


def _import(lease: Lease, plan: ImportPlan, folder: Path) -> Imported:
    with open_store(settings().store_url).local_copy(plan.upload_key) as path:
        return import_parquet(
            path,
            folder,
            plan.roles,
            guard=plan.guard,
            progress=lambda fraction: lease.report("loading", fraction),
        )


def _complete(lease: Lease, plan: ImportPlan, folder: Path, imported: Imported) -> bool:
    with RowStore.open(attempt_folder(folder, lease.fence)) as store:
        columns = [spec.to_json() for spec in store.columns.values()]
    with lease.recording() as tx:
        is_kept: bool = importing.complete_import(
            tx,
            lease.job_id,
            lease.fence,
            rows=imported.rows,
            splits=imported.splits,
            columns=columns,
            dropped=imported.dropped,
            corrected=imported.corrected,
            watermark=plan.watermark,
        )
        if is_kept:
            # Inside the transaction, where no other worker can have the job.
            take_place(folder, lease.fence)
    return is_kept


def _destroy_upload(plan: ImportPlan) -> None:
    """Destroy the upload; the sweeper does it if the worker is killed before."""
    open_store(settings().store_url).delete(plan.upload_key)
    with db.writing() as tx:
        importing.forget_upload(tx, plan.revision_id)
