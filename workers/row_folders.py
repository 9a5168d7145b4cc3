"""Folders of row files: each attempt at an import writes its own, one of them becomes the store.

A worker that lost its lease without noticing can thus harm nothing but what it wrote itself.
"""

import os
import shutil
from pathlib import Path


def attempt_folder(folder: Path, fence: int) -> Path:
    """Return where the attempt with this fence writes the store that is to be at ``folder``."""
    return folder.with_name(f"{folder.name}.partial-{fence}")


def remove_earlier_attempts(folder: Path, fence: int) -> None:
    """Remove what attempts with a lower fence left behind, and this one if it begins again."""
    for path in folder.parent.glob(f"{folder.name}.partial-*"):
        number = path.name.removeprefix(f"{folder.name}.partial-").partition(".")[0]
        if number.isdecimal() and int(number) <= fence:
            shutil.rmtree(path, ignore_errors=True)


def take_place(folder: Path, fence: int) -> None:
    """Make what an attempt wrote the store at ``folder``, on the disk when this returns.

    The caller holds the fence while it does so. What is at ``folder`` comes from an attempt
    that was killed before it could record it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    attempt_folder(folder, fence).rename(folder)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_store(folder: Path) -> None:
    """Remove the store at ``folder`` and what any attempt at it left behind."""
    shutil.rmtree(folder, ignore_errors=True)
    remove_attempts(folder)


def remove_attempts(folder: Path) -> None:
    """Remove what any attempt left behind beside the store at ``folder``."""
    for path in folder.parent.glob(f"{folder.name}.partial-*"):
        shutil.rmtree(path, ignore_errors=True)
