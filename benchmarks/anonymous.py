"""Anonymous memory of the service's processes while something happens to them.

``RssAnon`` of ``/proc/<pid>/status`` counts what a process has written to memory that no file
backs: what mapped row files and weights take is not in it, and goes when it is needed elsewhere.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SAMPLE_SECONDS = 0.01
SEARCH_SECONDS = 0.2
KINDS = {
    "api": "app.api.main",
    "sweeper": "workers.supervision",
    "worker": "workers.main",
    "supervisor": "app.cli.main",
    "pool child": "billiard.spawn",
}
"""What tells from a command line which part of the service a process is."""


@dataclass
class Memory:
    """What one process held, in kB.

    Attributes:
        name: Which part of the service it is.
        before: Anonymous when first looked at.
        most: Anonymous at its highest.
        resident: All of it at its highest, mapped files included.
    """

    name: str
    before: int
    most: int = 0
    resident: int = 0

    @property
    def growth(self) -> float:
        """By how many MB the anonymous part grew."""
        return (self.most - self.before) / 1024

    def look(self, pid: int) -> None:
        """Read the figures of the moment.

        Raises:
            OSError: The process has ended.
        """
        found = status(pid)
        self.most = max(self.most, found["RssAnon"])
        self.resident = max(self.resident, found["VmRSS"])


def status(pid: int) -> dict[str, int]:
    """Return the lines of a process's status that are in kB, by name.

    Raises:
        OSError: The process has ended.
    """
    fields = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in fields if words[-1:] == ["kB"]}


def name_of(process: psutil.Process) -> str | None:
    """Say which part of the service a process is; None for any other.

    Raises:
        psutil.Error: It has ended.
    """
    command = " ".join(process.cmdline())
    if "app.cli.tether" in command:
        return None
    return next((name for name, sign in KINDS.items() if sign in command), None)


@dataclass
class Watch:
    """Watches all processes of a service from a thread of its own.

    A process that is born meanwhile counts from nothing, what it imports included.

    Attributes:
        family: Lists the processes.
        seen: By process id.
    """

    family: Callable[[], Iterator[psutil.Process]]
    seen: dict[int, Memory] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._search()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def figures(self) -> list[Memory]:
        """Return what was seen, the process that grew most of each name."""
        largest: dict[str, Memory] = {}
        for memory in self.seen.values():
            known = largest.get(memory.name)
            if known is None or known.growth < memory.growth:
                largest[memory.name] = memory
        return [largest[name] for name in sorted(largest)]

    def _run(self) -> None:
        search_at = 0.0
        while not self._over.wait(SAMPLE_SECONDS):
            if time.monotonic() >= search_at:
                self._search(born=True)
                search_at = time.monotonic() + SEARCH_SECONDS
            for pid, memory in self.seen.items():
                try:
                    memory.look(pid)
                except OSError:
                    continue

    def _search(self, *, born: bool = False) -> None:
        for process in self.family():
            if process.pid in self.seen:
                continue
            try:
                name = name_of(process)
                before = 0 if born else status(process.pid)["RssAnon"]
            except (psutil.Error, OSError, KeyError):
                continue
            if name is not None:
                self.seen[process.pid] = Memory(name, before)


def descendants() -> Iterator[psutil.Process]:
    """Yield the processes that this one, or one of those, has started."""
    yield from psutil.Process().children(recursive=True)
