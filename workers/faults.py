"""Named points of a job at which a test can hold or kill the worker.

Set ``LETHE_TEST_PAUSE`` to names separated by commas. The first worker that comes to such a point
leaves an empty marker and waits there, to be killed or until something is written to the marker;
whoever comes later finds the marker and goes on.
"""

import time
from pathlib import Path

from app.infra.settings import settings

POINTS = ("after-claim", "mid-update", "after-store", "after-publish", "mid-withdrawal")
LONGEST_PAUSE_SECONDS = 600.0
POLL_SECONDS = 0.02


def marker_of(point: str) -> Path:
    """Return the file that says that a worker has come to ``point``."""
    return settings().staging_folder / f"paused-{point}"


def pause_at(point: str) -> None:
    """Wait, if the settings ask for it and nobody has waited here before.

    Raises:
        ValueError: There is no such point.
    """
    if point not in POINTS:
        raise ValueError(f"no point of a job is called {point!r}")
    if point not in settings().test_pause.split(","):
        return
    marker = marker_of(point)
    marker.parent.mkdir(parents=True, exist_ok=True)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    latest = time.monotonic() + LONGEST_PAUSE_SECONDS
    while marker.exists() and marker.stat().st_size == 0 and time.monotonic() < latest:
        time.sleep(POLL_SECONDS)
