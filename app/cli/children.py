"""Child processes that are kept running, and ended for certain.

Each has a session of its own, so that Ctrl-C reaches only the supervisor, and is tethered to it,
so that it ends when the supervisor is killed.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.cli.tether import tethered

STEADY_SECONDS = 60.0
"""A child that ran this long has started well: its next failure is the first again."""
LONGEST_PAUSE_SECONDS = 30.0


@dataclass
class Child:
    """One program that is started again whenever it ends.

    Attributes:
        name: For messages.
        command: Program and arguments.
        environment: The program's environment.
        report: Told in one sentence what happens to the child.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    report: Callable[[str], None]
    process: "subprocess.Popen[bytes] | None" = None
    _started: float = 0.0
    _failures: int = 0
    _start_at: float = field(default=0.0)

    def start(self) -> None:
        """Start the program; call from the thread that lives as long as the supervisor."""
        self._started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            tethered(self.command),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tend(self) -> None:
        """Start the program again if it has ended, after a pause that grows with each failure."""
        if self.process is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        self._kill_group()
        ran = time.monotonic() - self._started
        self._failures = 1 if ran > STEADY_SECONDS else self._failures + 1
        pause = min(LONGEST_PAUSE_SECONDS, 0.25 * 2**self._failures)
        self._start_at = time.monotonic() + pause
        self.process = None
        self.report(f"{self.name} ended with {code}; it starts again in {pause:.1f} s")

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end(self, deadline: float) -> None:
        """Wait until ``deadline`` (monotonic clock), then kill whatever is left of it."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        self._kill_group()
        self.process.wait()
        self.process = None

    def _kill_group(self) -> None:
        """Kill what the program may have left in its session: the pool of a killed worker."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
