"""A real worker shows that it is alive."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from app.cli.processes import worker_command
from app.infra import pulse


@pytest.fixture
def worker(tmp_path: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LETHE_HOME": str(tmp_path), "LETHE_BROKER_URL": ""}
    return subprocess.Popen(worker_command(), env=environment, start_new_session=True)


def test_a_worker_beats_while_it_runs(
    worker: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = time.monotonic() + 60
    try:
        while not pulse.is_beating(tmp_path, "worker"):
            assert worker.poll() is None
            assert time.monotonic() < latest
            time.sleep(0.05)
    finally:
        os.killpg(worker.pid, 9)
        worker.wait()

    monkeypatch.setattr(pulse, "STALE_SECONDS", 0.0)
    assert not pulse.is_beating(tmp_path, "worker")
