"""What a job has cost so far: seconds by phase, without references and controls."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from workers.lease import Lease


@dataclass
class Account:
    """The clock of one attempt at a job.

    Attributes:
        lease: The job's; told of every phase that begins.
        phases: Seconds spent in each phase so far.
    """

    lease: Lease
    phases: dict[str, float] = field(default_factory=dict)
    _apart: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as a phase."""
        self.lease.report(name, 0.0)
        started, apart = time.monotonic(), self._apart
        try:
            yield
        finally:
            spent = time.monotonic() - started - (self._apart - apart)
            self.phases[name] = self.phases.get(name, 0.0) + spent

    @contextmanager
    def not_counted(self) -> Iterator[list[float]]:
        """Leave what happens inside out of every phase; its seconds are appended to the list."""
        started = time.monotonic()
        seconds: list[float] = []
        try:
            yield seconds
        finally:
            spent = time.monotonic() - started
            seconds.append(spent)
            self._apart += spent

    def seconds(self) -> float:
        """Return the seconds since the claim, without what was not counted."""
        return time.monotonic() - self.lease.started - self._apart
