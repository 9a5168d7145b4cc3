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
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
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
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        # Unlike a rename, a link never takes the place of what another process made.
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Write what a folder contains to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
