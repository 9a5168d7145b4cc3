"""A claimed job: its lease is kept alive by a thread, its fence guards what is recorded.

The thread needs no more than the database. When it finds the lease lost, or the job to be
cancelled, the work learns of it at its next report and stops there.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.domain.actions import running
from app.domain.actions.running import Pulse
from app.domain.errors import FenceLost
from app.infra import db

log = structlog.get_logger(__name__)

BEATS_PER_LEASE = 4
SLOWEST_BEAT_SECONDS = 2.0
"""Also how long a running job may take to hear that it is to stop."""
REPORT_SECONDS = 0.3
SPANS = {
    "loading": (0.0, 0.1),
    "curvature": (0.1, 0.2),
    "updating": (0.2, 0.6),
    "verifying": (0.6, 0.9),
    "storing": (0.9, 0.95),
    "publishing": (0.95, 1.0),
}
"""Which part of a whole job each phase is, as people watch it; seconds are in the report."""


class Stopped(Exception):
    """Somebody asked for the job to be cancelled."""


@dataclass
class Lease:
    """The right to run one job, for as long as it is kept alive.

    Attributes:
        job_id: The job.
        kind: What kind of job it is.
        fence: Number of the claim; whatever is recorded has to carry it.
        seconds: Length of the lease.
        started: When it was claimed (monotonic clock).
    """

    job_id: str
    kind: str
    fence: int
    seconds: float
    started: float = field(default_factory=time.monotonic)
    phase: str = ""
    _pulse: Pulse = Pulse.ALIVE
    _over: threading.Event = field(default_factory=threading.Event)
    _reported: float = 0.0
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to keep the lease alive."""
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop keeping it alive."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(self.seconds)

    def check(self) -> None:
        """Go on only with a living lease.

        Raises:
            FenceLost: Another worker has the job.
            Stopped: The job is to be cancelled.
        """
        if self._pulse is Pulse.LOST:
            raise FenceLost
        if self._pulse is Pulse.CANCEL:
            raise Stopped

    def confirm(self) -> None:
        """Ask the database now; for what cannot be undone, a beat of some seconds ago is too old.

        Raises:
            FenceLost: Another worker has the job.
            Stopped: The job is to be cancelled.
        """
        with db.writing() as tx:
            self._hear(running.heartbeat(tx, self.job_id, self.fence))
        self.check()

    def report(self, phase: str, fraction: float) -> None:
        """Tell how far the job is, at most a few times a second; ``check`` on the way.

        Args:
            phase: One of the phases of the HTTP contract.
            fraction: Share of the phase that is done, in [0, 1]; what is recorded is the share
                of the whole job.

        Raises:
            FenceLost: Another worker has the job.
            Stopped: The job is to be cancelled.
        """
        is_due = time.monotonic() - self._reported >= REPORT_SECONDS
        if phase != self.phase or is_due:
            self.phase = phase
            self._reported = time.monotonic()
            start, end = SPANS[phase]
            whole = start + (end - start) * min(1.0, max(0.0, fraction))
            with db.writing() as tx:
                self._hear(running.progress(tx, self.job_id, self.fence, phase, whole))
        self.check()

    @contextmanager
    def recording(self) -> Iterator[Session]:
        """Open a writing transaction for what the job has to record."""
        with db.writing() as tx:
            yield tx

    def _hear(self, pulse: Pulse) -> None:
        if self._pulse is Pulse.ALIVE:
            self._pulse = pulse

    def _beat(self) -> None:
        """Beat until told to stop; without an answer for a whole lease, take it for lost."""
        pause = min(SLOWEST_BEAT_SECONDS, self.seconds / BEATS_PER_LEASE)
        answered = time.monotonic()
        while not self._over.wait(pause):
            try:
                with db.writing() as tx:
                    self._hear(running.heartbeat(tx, self.job_id, self.fence))
                answered = time.monotonic()
            except SQLAlchemyError as error:
                log.warning("lease.unanswered", job_id=self.job_id, error=type(error).__name__)
                if time.monotonic() - answered > self.seconds:
                    self._hear(Pulse.LOST)
            if self._pulse is Pulse.LOST:
                return
