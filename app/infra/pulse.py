"""Signs of life of the processes that listen on no port: workers and the sweeper.

Each touches a file of its own every few seconds; whoever wants to know looks at its age.
"""

import socket
import time
from pathlib import Path

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


def _file(home: Path, role: str) -> Path:
    return home / "run" / f"{role}-{socket.gethostname()}"


def beat(home: Path, role: str) -> None:
    """Say that this machine's process of that role is alive."""
    path = _file(home, role)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch()


def is_beating(home: Path, role: str) -> bool:
    """Return whether this machine's process of that role was alive within the last minute."""
    try:
        return time.time() - _file(home, role).stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False
