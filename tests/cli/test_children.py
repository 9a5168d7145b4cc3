"""Children of the supervisor: started again, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from app.cli.children import Child

PARENT = """
import subprocess, sys, time
from app.cli.tether import tethered
subprocess.Popen(tethered([sys.executable, "-c", sys.argv[1]]), start_new_session=True)
time.sleep(60)
"""


def eventually(is_so: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def writes_its_pid(path: Path, then: str) -> str:
    write = f"pathlib.Path({str(path)!r}).write_text(str(os.getpid()))"
    return f"import os, pathlib, time; {write}; {then}"


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def pid_in(path: Path) -> int:
    assert eventually(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


def test_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = writes_its_pid(mark, "time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", PARENT, code]) as parent:
        pid = pid_in(mark)
        assert is_running(pid)
        parent.kill()
        parent.wait()
        assert eventually(lambda: not is_running(pid))


def test_program_does_not_start_without_its_parent() -> None:
    stranger = str(os.getpid() + 1)
    command = [sys.executable, "-m", "app.cli.tether", stranger, sys.executable, "-c", "print(1)"]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_ended_child_starts_again(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    said: list[str] = []
    command = [sys.executable, "-c", writes_its_pid(mark, "time.sleep(60)")]
    child = Child("sleeper", command, os.environ, said.append)
    child.start()
    try:
        first = pid_in(mark)
        os.kill(first, signal.SIGKILL)

        def is_another() -> bool:
            child.tend()
            return pid_in(mark) != first

        assert eventually(is_another)
        assert is_running(pid_in(mark))
        assert [line for line in said if "-9" in line]
    finally:
        child.end(time.monotonic())
    assert not is_running(pid_in(mark))


def test_child_that_ignores_the_request_is_killed_with_its_group(tmp_path: Path) -> None:
    mark, grandmark = tmp_path / "pid", tmp_path / "grandchild"
    grandchild = writes_its_pid(grandmark, "time.sleep(60)")
    stubborn = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}]); "
        + writes_its_pid(mark, "time.sleep(60)")
    )
    child = Child("stubborn", [sys.executable, "-c", stubborn], os.environ, print)
    child.start()
    pids = [pid_in(mark), pid_in(grandmark)]
    child.ask_to_stop()
    child.end(time.monotonic() + 0.3)
    assert eventually(lambda: not any(is_running(pid) for pid in pids))
