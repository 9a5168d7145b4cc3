"""The whole service for as long as a command needs it: its own data folder, its own port."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.errors import NotStarted
from app.cli.tether import tethered
from app.client import ClientError, Lethe

START_SECONDS = 120.0
"""Slow machines compile everything on the first start."""
STOP_SECONDS = 30.0
LINES_SHOWN = 30


@contextmanager
def temporary_service(threads: int = 1) -> Iterator[Lethe]:
    """Run ``lethe up`` on loopback in a temporary folder; nothing is left of it afterwards.

    Settings of the surrounding environment are not taken over: a database named there is left
    alone.

    Args:
        threads: Torch threads of the worker.

    Yields:
        A client with the admin key.
    """
    with tempfile.TemporaryDirectory(prefix="lethe-") as folder:
        home = Path(folder)
        port = _free_port()
        log = home / "service.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own program
                tethered([sys.executable, "-m", "app.cli.main", "up"]),
                env=_environment(home, port, threads),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield from _client(process, home, port)
        except Exception as error:
            error.add_note(f"the service's last lines:\n{_last_lines(log)}")
            raise
        finally:
            _stop(process)


def _environment(home: Path, port: int, threads: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name[:6] != "LETHE_"}
    return inherited | {
        "LETHE_HOME": str(home),
        "LETHE_HOST": "127.0.0.1",
        "LETHE_PORT": str(port),
        "LETHE_THREADS": str(threads),
        "LETHE_LOG_LEVEL": "WARNING",
    }


def _client(process: "subprocess.Popen[bytes]", home: Path, port: int) -> Iterator[Lethe]:
    deadline = time.monotonic() + START_SECONDS
    key = home / "bootstrap.key"
    while not (key.exists() and key.read_text()):
        _require_alive(process, deadline)
    with Lethe(f"http://127.0.0.1:{port}", key.read_text().strip()) as client:
        while not _is_ready(client):
            _require_alive(process, deadline)
        yield client


def _is_ready(client: Lethe) -> bool:
    try:
        return client.is_ready()
    except ClientError:
        return False


def _require_alive(process: "subprocess.Popen[bytes]", deadline: float) -> None:
    """Pause a little; raise if waiting is in vain.

    Raises:
        NotStarted: The service has ended, or takes too long.
    """
    if process.poll() is not None or time.monotonic() > deadline:
        raise NotStarted("it has ended" if process.poll() is not None else "it takes too long")
    time.sleep(0.1)


def _last_lines(log: Path) -> str:
    """Return the end of the log, which goes with the folder."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LINES_SHOWN:])


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the supervisor; its children are tied to its life."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
