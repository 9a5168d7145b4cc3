"""Files that are there, whole, after a crash at any moment."""

import os
from pathlib import Path
from secrets import token_hex


def replace(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Let a file have this content: before it returns the old one is read, after it the new one.

    The caller makes sure that nobody else replaces the same file at the same time.

    Args:
        path: Of the file; its folder exists.
        content: All of it.
        mode: Who may read it; by default its owner only.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        _write(partial, content, mode)
        partial.replace(path)
    finally:
        # What could not be written whole may be half a key.
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Make a file that only its owner can read, unless there is one.

    Args:
        path: Of the file; its folder exists.
        content: All of it.

    Returns:
        False if there was one already; it is as it was.
    """
    # Not the number of the process: in a container it is the same after every crash.
    partial = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        _write(partial, content, 0o600)
        # Unlike a rename, a link never takes the place of what another process made.
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write what a folder contains to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
