"""Whose turn it is to write to an SQLite file.

SQLite keeps no queue. Whoever waits for its write lock looks again after pauses of up to 100 ms,
and a process that writes one transaction after another has the lock back before that: others
starve. So every writer first takes a lock of its own beside the database, keeps it only until it
has SQLite's, and waits for that one in short steps. Who has just written finds that lock taken by
the one who has waited, and waits behind it.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

STEP_SECONDS = 0.001
PRIMARY_CODE = 0xFF
"""The lower bits of an extended result code of SQLite."""


@contextmanager
def turn(path: Path, deadline: float) -> Iterator[None]:
    """Hold the lock of those who wait to write.

    Args:
        path: Of the lock's file; it is made, and never removed.
        deadline: When waiting ends, as ``time.monotonic`` counts: whoever comes so far goes on
            without, and SQLite has the last word.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _is_taken(handle) and time.monotonic() < deadline:
            time.sleep(STEP_SECONDS)
        yield
    finally:
        # Not left to the close: a child forked meanwhile holds the same open file.
        fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


def begin_in_turn(begin: Callable[[], object], path: Path, deadline: float) -> None:
    """Begin a transaction that holds SQLite's write lock, in turn with all other writers.

    Args:
        begin: Tries to, on a connection whose busy timeout is 0.
        path: See ``turn``.
        deadline: See ``turn``; one attempt is made in any case.

    Raises:
        DBAPIError: The database is locked until after the deadline, or broken.
    """
    with turn(path, deadline):
        while True:
            try:
                begin()
            except DBAPIError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(STEP_SECONDS)
            else:
                return


def is_busy(error: DBAPIError) -> bool:
    """Tell whether a statement failed because somebody else has locked SQLite's file."""
    code: int = getattr(error.orig, "sqlite_errorcode", 0) & PRIMARY_CODE
    return code == sqlite3.SQLITE_BUSY


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
