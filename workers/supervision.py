"""The dispatcher, the sweeper, the sealer and the shredder: ``python -m workers.supervision``.

The dispatcher rings for jobs that became due, again and again until somebody has taken them. The
sweeper takes jobs back from workers that died, watches deadlines and clears away what crashes left
behind. The sealer gives audit entries their places in the log, signs it and issues certificates;
its checkpoints go out to witnesses and other places. The shredder destroys what was kept long
enough, and the keys that could open it. All need only the database; while the broker is down they
go on trying. Any number of such processes may run.
"""

import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

import structlog
from celery import Celery

from app.domain.actions import certifying, importing, sealing, upkeep
from app.infra import db, logging, pulse
from app.infra.settings import Settings, settings
from app.infra.storage import open_store
from workers import cosigning
from workers.main import celery
from workers.ringing import ring
from workers.shredding import Shredder

log = structlog.get_logger(__name__)

LONGEST_PAUSE_SECONDS = 5.0
CHORES_SECONDS = 3600.0
SEAL_SECONDS = 1.0
"""Entries are sealed in batches: each one is a commit that writers on SQLite wait for."""
SHRED_SECONDS = 5.0
BATCHES_TO_SIGN = 10
TRUNCATE_SECONDS = 60.0
"""How long erased bytes stay in the write-ahead log if the worker that erased them was killed."""
ABANDONED = timedelta(days=1)
"""Older than any job or upload can be while it is still at work."""


@dataclass
class Dispatcher:
    """Rings for due jobs, no faster than the workers hear.

    Attributes:
        unsent: Jobs whose bell the broker did not take, or for which its queue was too long.
        application: Knows the broker.
    """

    unsent: dict[str, None] = field(default_factory=dict)
    application: Celery = celery

    def tick(self) -> None:
        """Take the bells that are due and ring them."""
        if len(self.unsent) < upkeep.MOST_AT_ONCE:
            with db.writing() as tx:
                upkeep.ring_due(tx)
                self.unsent.update(dict.fromkeys(upkeep.take_bells(tx)))
        if self.unsent:
            # A message is sent after its transaction, so whoever hears it finds the job.
            for job_id in ring(self.application, self.unsent):
                del self.unsent[job_id]


@dataclass
class Sweeper:
    """Takes jobs back, watches deadlines, clears away.

    Attributes:
        config: The settings.
        overdue: Requests past their deadline when last looked.
    """

    config: Settings
    overdue: int = 0
    _chores_at: float = 0.0
    _truncate_at: float = 0.0

    def tick(self) -> None:
        """Do whatever is due."""
        with db.writing() as tx:
            requeued = upkeep.requeue_lapsed(tx)
        if requeued:
            log.warning("jobs.requeued", count=requeued)
        self._watch_deadlines()
        self._destroy_uploads()
        pulse.beat(self.config.home, "sweeper")
        if time.monotonic() >= self._truncate_at:
            self._truncate_at = time.monotonic() + TRUNCATE_SECONDS
            db.truncate_log()
        if time.monotonic() >= self._chores_at:
            self._chores_at = time.monotonic() + CHORES_SECONDS
            self._chores()

    def _watch_deadlines(self) -> None:
        with db.reading() as tx:
            overdue = upkeep.overdue_requests(tx)
        if overdue != self.overdue:
            log.warning("requests.overdue", count=overdue)
        self.overdue = overdue

    def _destroy_uploads(self) -> None:
        """Destroy imported uploads that a killed worker left behind."""
        with db.reading() as tx:
            uploads = upkeep.finished_uploads(tx)
        for revision_id, key in uploads:
            open_store(self.config.store_url).delete(key)
            with db.writing() as tx:
                importing.forget_upload(tx, revision_id)

    def _chores(self) -> None:
        with db.writing() as tx:
            upkeep.expire_idempotency(tx)
        store = open_store(self.config.store_url)
        store.clear_abandoned(ABANDONED)
        keys = list(store.list())
        with db.reading() as tx:
            orphans = upkeep.orphans(tx, keys)
        for key in orphans:
            store.delete(key)
        self._clear_staging()

    def _clear_staging(self) -> None:
        oldest = time.time() - ABANDONED.total_seconds()
        for path in self.config.staging_folder.glob("*"):
            if path.stat().st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True)


@dataclass
class Sealer:
    """Seals what was committed, signs the log, issues the certificates that are due."""

    def tick(self) -> None:
        """Do whatever is due."""
        self._seal()
        with db.reading() as tx:
            due = certifying.due(tx)
        for request_id in due:
            with db.writing() as tx:
                issued = certifying.issue(tx, request_id)
            if issued is None:
                log.warning("certificate.not-issued", request_id=request_id)
        if due:
            self._seal()

    def _seal(self) -> None:
        with db.reading() as tx:
            if not sealing.is_behind(tx):
                return
        # Under a load that never ends, too, what is sealed has to be signed.
        for _ in range(BATCHES_TO_SIGN):
            if not self._seal_batch():
                break
        with db.reading() as tx:
            note = sealing.prepare_checkpoint(tx)
        if note is not None:
            with db.writing() as tx:
                sealing.publish_checkpoint(tx, note)

    def _seal_batch(self) -> bool:
        """Seal some entries, holding SQLite's one writer as shortly as can be."""
        with db.reading() as tx:
            batch = sealing.prepare(tx)
        if batch is not None:
            with db.writing() as tx:
                sealing.place(tx, batch)
        return batch is not None


def repeat(tick: Callable[[], None], pause: float, stop: threading.Event) -> None:
    """Call ``tick`` until ``stop``; when it fails, go on after a pause that grows.

    Args:
        tick: What to do.
        pause: Seconds between two calls.
        stop: Ends the loop.
    """
    failures = 0
    while not stop.is_set():
        try:
            tick()
            failures = 0
        except Exception as error:
            failures += 1
            # The class alone: a message may quote the row or address it failed on.
            log.warning("supervision.failed", error=type(error).__name__, failures=failures)
        stop.wait(min(LONGEST_PAUSE_SECONDS, pause * 2**failures) if failures else pause)


def main() -> None:
    """Run dispatcher, sweeper, sealer and shredder until SIGINT or SIGTERM."""
    config = settings()
    logging.configure()
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    sweep_pause = min(1.0, config.lease_seconds / 4)
    loops = [
        threading.Thread(target=repeat, args=(Dispatcher().tick, config.sweep_seconds, stop)),
        threading.Thread(target=repeat, args=(Sweeper(config).tick, sweep_pause, stop)),
        threading.Thread(target=repeat, args=(Sealer().tick, SEAL_SECONDS, stop)),
        threading.Thread(target=repeat, args=(Shredder().tick, SHRED_SECONDS, stop)),
        *(
            threading.Thread(target=repeat, args=(loop.tick, cosigning.PAUSE_SECONDS, stop))
            for loop in cosigning.loops(config)
        ),
    ]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()


if __name__ == "__main__":
    main()
