"""A process that stopped beating is seen as dead."""

import os
import subprocess
import sys
import time
from pathlib import Path

from app.infra import pulse


def looks_alive(home: Path) -> bool:
    probe = subprocess.run(
        [sys.executable, "-m", "app.cli.pulse", "worker"],
        check=False,
        timeout=60,
        env={**os.environ, "LETHE_HOME": str(home)},
    )
    return probe.returncode == 0


def test_the_pulse_is_seen_from_another_process_until_it_is_stale(tmp_path: Path) -> None:
    assert not looks_alive(tmp_path)

    pulse.beat(tmp_path, "sweeper")
    assert not looks_alive(tmp_path)

    pulse.beat(tmp_path, "worker")
    assert looks_alive(tmp_path)

    (file,) = (tmp_path / "run").glob("worker-*")
    stale = time.time() - pulse.STALE_SECONDS - 1
    os.utime(file, (stale, stale))
    assert not looks_alive(tmp_path)
