"""The withdraw job: what a finished request condemns is physically destroyed.

Every step can be repeated, so a killed worker's successor does the whole plan again. Only when
all of it is done is it recorded.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from app.domain.actions import withdrawal
from app.domain.actions.withdrawal import Plan
from app.infra import db
from app.infra.rows import RowStore
from app.infra.settings import settings
from app.infra.storage import open_store
from workers.faults import pause_at
from workers.lease import Lease
from workers.row_folders import remove_store
from workers.staging import remove_staging

log = structlog.get_logger(__name__)

TRUNCATE_SECONDS = 60.0
"""How long to wait for readers that keep the write-ahead log from being emptied."""


def run(lease: Lease) -> None:
    """Destroy what the plan names, record it, and empty the database's log."""
    with lease.recording() as tx:
        plan = withdrawal.plan(tx, lease.job_id, lease.fence)
    destroy_objects(plan)
    lease.check()
    pause_at("mid-withdrawal")
    destroy_rows(plan, lease)
    for job_id in plan.jobs:
        remove_staging(job_id)
    with lease.recording() as tx:
        withdrawal.complete(tx, lease.job_id, lease.fence)
    empty_log()
    log.info("withdrawal.done", objects=len(plan.objects), stores=len(plan.erase))


def destroy_objects(plan: Plan) -> None:
    """Delete weights, curvature and whatever other attempts left beside them."""
    store = open_store(settings().store_url)
    for key in plan.objects:
        store.delete(key)
    for prefix in plan.prefixes:
        for key in list(store.list(prefix.prefix)):
            if key not in prefix.keep:
                store.delete(key)


def destroy_rows(plan: Plan, lease: Lease) -> None:
    """Erase rows, write corrected cells over the old ones, remove whole revisions."""
    root = settings().rows_folder
    for erasure in plan.erase:
        with _writable(root / erasure.folder, lease) as rows:
            rows.erase(erasure.rows)
    for rewriting in plan.overwrite:
        with _writable(root / rewriting.folder, lease) as rows:
            rows.write_overlay(rewriting.overlay)
    for folder in plan.row_folders:
        remove_store(root / folder)


def empty_log(seconds: float = TRUNCATE_SECONDS) -> None:
    """Empty the write-ahead log, trying again while readers are in the way.

    Left to the sweeper when the time is up: it empties the log whenever it finds it long.
    """
    deadline = time.monotonic() + seconds
    while not db.truncate_log():
        if time.monotonic() > deadline:
            log.warning("withdrawal.log-not-emptied")
            return
        time.sleep(0.05)


@contextmanager
def _writable(folder: Path, lease: Lease) -> Iterator[RowStore]:
    """Open row files for the only process that writes to them; others wait.

    Two requests on one dataset may be withdrawn by two workers at the same time. Once it is
    this one's turn, its job may be another's: then it would write old corrections over new ones.

    Raises:
        FenceLost: Another worker has the job.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        lease.confirm()
        with RowStore.open(folder, writable=True) as rows:
            yield rows
    finally:
        os.close(handle)
