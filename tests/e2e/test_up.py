"""``lethe up``: one command, and nothing left when it ends, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app.client import Lethe, Unreachable
from tests.e2e.service import eventually
from tests.servers import free_port


def processes_of(home: Path) -> list[psutil.Process]:
    """Find every process that was started for this folder, in whatever session."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = process.environ().get("LETHE_HOME") == str(home)
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def up(home: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """The running command, once it has said where it listens."""
    command = [sys.executable, "-m", "app.cli.main", "up"]
    inherited = {name: value for name, value in os.environ.items() if name[:6] != "LETHE_"}
    environment = inherited | {"LETHE_HOME": str(home), "LETHE_PORT": str(port)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            for left in processes_of(home):
                left.kill()


def lines_until(process: "subprocess.Popen[str]", start: str) -> list[str]:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(start):
            return lines
    raise AssertionError(lines)


def test_it_tells_address_and_key_and_ends_cleanly_on_ctrl_c(
    up: "subprocess.Popen[str]", home: Path, port: int
) -> None:
    lines = lines_until(up, "key: ")
    assert f"Lethe listens on http://127.0.0.1:{port}" in lines
    with Lethe(f"http://127.0.0.1:{port}", lines[-1].removeprefix("key: ")) as client:
        assert client.is_ready()
        assert list(client.datasets()) == []
    # Supervisor, API, worker, its child and tracker, sweeper.
    eventually(lambda: len(processes_of(home)) >= 5)
    up.send_signal(signal.SIGINT)
    assert up.wait(20) == 0
    assert processes_of(home) == []


def test_no_process_outlives_a_killed_supervisor(up: "subprocess.Popen[str]", home: Path) -> None:
    lines_until(up, "key: ")
    eventually(lambda: len(processes_of(home)) >= 5)
    up.kill()
    up.wait()
    eventually(lambda: processes_of(home) == [], 10)


def test_killed_child_is_started_again(up: "subprocess.Popen[str]", home: Path, port: int) -> None:
    lines_until(up, "key: ")
    api = next(p for p in processes_of(home) if "uvicorn" in p.cmdline())
    api.kill()
    lines_until(up, "api ended with -9")
    with Lethe(f"http://127.0.0.1:{port}") as client:

        def answers() -> bool:
            with suppress(Unreachable):
                return client.is_ready()
            return False

        eventually(answers)
