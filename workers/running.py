"""From a bell to a job that runs, and to what is recorded when it does not end well."""

import importlib
import os
import socket
import traceback
from pathlib import Path

import structlog
from sqlalchemy.exc import OperationalError

from app.domain.actions import running
from app.domain.errors import FenceLost
from app.domain.failures import failure
from app.infra import db
from app.infra.settings import settings
from workers.faults import pause_at
from workers.lease import Lease, Stopped

log = structlog.get_logger(__name__)

RUNNERS = {
    "unlearn": "workers.pipeline",
    "import": "workers.importing",
    "validate": "workers.validating",
    "curvature": "workers.preparing",
    "withdraw": "workers.withdrawing",
}
"""Module of each kind of job; imported when the first such job comes."""


def run(job_id: str) -> None:
    """Claim a job and run it to its end.

    A job that is not to be had is left alone. An unexpected exception gives it back: it is tried
    again after a pause, a bounded number of times.
    """
    with db.writing() as tx:
        claim = running.claim(tx, job_id, f"{socket.gethostname()}:{os.getpid()}")
    if claim is None:
        return
    lease = Lease(job_id, claim.job.kind, claim.fence, settings().lease_seconds)
    structlog.contextvars.bind_contextvars(job_id=job_id, fence=claim.fence)
    try:
        with lease:
            pause_at("after-claim")
            importlib.import_module(RUNNERS[lease.kind]).run(lease)
    except Stopped:
        _record_stop(lease)
    except FenceLost:
        log.warning("job.lost")
    except Exception as error:
        # Not log.exception: the message may quote a row.
        where = places_of(error)
        log.error("job.crashed", error=type(error).__name__, where=where)  # noqa: TRY400
        _give_back(lease, error)
    finally:
        structlog.contextvars.clear_contextvars()


def places_of(error: BaseException) -> list[str]:
    """Return where an exception passed through, without its message or any value."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _record_stop(lease: Lease) -> None:
    try:
        with db.writing() as tx:
            running.stop(tx, lease.job_id, lease.fence)
    except FenceLost:
        log.warning("job.lost")


def _give_back(lease: Lease, error: Exception) -> None:
    """Give the job back; when even that fails, its lease runs out and does the same."""
    # The class alone: a message may quote what it failed on, which may be a row.
    reason = failure("unexpected-error", f"the job stopped with {type(error).__name__}")
    try:
        with db.writing() as tx:
            running.release(tx, lease.job_id, lease.fence, reason)
    except (FenceLost, OperationalError):
        log.warning("job.lost")
