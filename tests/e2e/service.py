"""The real service: API, worker and sweeper as processes of their own, over real HTTP."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from app.cli.processes import api_command, sweeper_command, worker_command
from app.cli.tether import tethered
from app.infra.settings import Settings
from tests.servers import free_port
from workers.faults import POINTS

T = TypeVar("T")
KEY = "lethe_" + "k" * 43
LEASE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0


class Impatient(AssertionError):
    """Something did not happen in time."""


def eventually(look: Callable[[], T], seconds: float = PATIENCE_SECONDS, what: str = "") -> T:
    """Return the first true answer of ``look``."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise Impatient(f"{what or look}: {seen!r}")
        time.sleep(0.03)
    return seen


@dataclass
class Service:
    """One running service.

    Attributes:
        home: The data folder.
        environment: Of all processes.
        url: Where the API listens.
    """

    home: Path
    environment: dict[str, str]
    url: str
    config: Settings
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, name: str, **environment: str) -> None:
        commands = {
            "api": api_command(self.config),
            "worker": worker_command(),
            "second": worker_command("second"),
            "sweeper": sweeper_command(),
        }
        log = (self.home / "logs" / f"{name}.log").open("ab")
        with log:
            self.processes[name] = subprocess.Popen(
                tethered(commands[name]),
                env={**self.environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def family(self, name: str) -> list[psutil.Process]:
        """Return a process and its children."""
        parent = psutil.Process(self.processes[name].pid)
        return [parent, *parent.children(recursive=True)]

    def kill(self, name: str) -> None:
        """SIGKILL a process and its children, as a machine that loses power would."""
        family = self.family(name)
        process = self.processes.pop(name)
        for member in family:
            member.kill()
        process.wait()
        psutil.wait_procs(family, timeout=10)

    def restart(self, name: str, **environment: str) -> None:
        self.kill(name)
        self.start(name, **environment)

    def paused_at(self, point: str) -> Path:
        return self.home / "staging" / f"paused-{point}"

    def hold(self, point: str) -> None:
        """Let the next job that comes to ``point`` wait there."""
        self.paused_at(point).unlink()

    def release(self, point: str) -> None:
        """Let it go on, and everyone after it."""
        self.paused_at(point).write_text("go on")

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text(errors="replace")

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running_service(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run the service on an empty folder; nothing of it is left afterwards.

    Args:
        home: The data folder; empty or new.
        environment: Settings beside the defaults, such as LETHE_DATABASE_URL.
    """
    (home / "logs").mkdir(parents=True)
    (home / "staging").mkdir()
    port = free_port()
    given = {
        "LETHE_HOME": str(home),
        "LETHE_PORT": str(port),
        "LETHE_BOOTSTRAP_KEY": KEY,
        "LETHE_LEASE_SECONDS": str(LEASE_SECONDS),
        "LETHE_RING_AGAIN_SECONDS": "1",
        "LETHE_SWEEP_SECONDS": "0.1",
        "LETHE_MAX_ATTEMPTS": "10",
        "LETHE_TEST_PAUSE": ",".join(POINTS),
        "OMP_NUM_THREADS": "1",
        **(environment or {}),
    }
    inherited = {name: value for name, value in os.environ.items() if name[:6] != "LETHE_"}
    config = Settings(
        home=home,
        port=port,
        database_url=given.get("LETHE_DATABASE_URL", ""),
        broker_url=given.get("LETHE_BROKER_URL", ""),
    )
    service = Service(home, inherited | given, f"http://127.0.0.1:{port}", config)
    for point in POINTS:
        service.release(point)
    migrate = [sys.executable, "-m", "app.cli.main", "migrate"]
    subprocess.run(migrate, env=service.environment, check=True)
    for name in ("api", "worker", "sweeper"):
        service.start(name)
    try:
        eventually(service.is_ready, what="the API")
        yield service
    finally:
        for name in list(service.processes):
            service.kill(name)
