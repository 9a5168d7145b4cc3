"""What holds for the local folder: crashes, full disks, permissions."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from app.infra.storage import ObjectMissing, StoreFull, StoreUnavailable
from tests.infra.storage.conftest import Place

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from app.infra.storage import open_store

def chunks():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)

open_store(sys.argv[1], staging=Path(sys.argv[2])).put_stream("weights", chunks(), limit=100)
"""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Have the kernel refuse to grow any file beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_refused_write_leaves_nothing(local_place: Place) -> None:
    with largest_file(100_000), pytest.raises(StoreFull):
        local_place.store.put_stream("weights", [b"x" * 150_000], limit=200_000)

    assert not local_place.remnants()


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)],
)
def test_a_failing_sync_leaves_nothing(
    local_place: Place, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    local_place.store.put_stream("earlier", [b"x"], limit=1)

    def fail(_handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        local_place.store.put_stream("weights", [b"x" * 100], limit=100)

    assert local_place.remnants() == 1


def test_a_killed_writer_leaves_only_what_is_swept_up(local_place: Place, tmp_path: Path) -> None:
    writer = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, f"file://{tmp_path / 'store'}", tmp_path],
        check=False,
        timeout=60,
    )

    assert writer.returncode == -signal.SIGKILL
    assert not local_place.store.exists("weights")
    assert list(local_place.store.list()) == []
    assert local_place.remnants() == 1
    assert local_place.store.clear_abandoned(timedelta(0)) == 1
    assert not local_place.remnants()


def test_a_stream_on_its_way_is_not_taken_for_abandoned(local_place: Place) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"begin"
        assert local_place.store.clear_abandoned(timedelta(minutes=1)) == 0
        yield b"end"

    assert local_place.store.put_stream("weights", chunks(), limit=8).size == 8


def test_an_object_is_synced_before_it_becomes_visible(
    local_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    sync = os.fsync
    target = tmp_path / "store" / "weights"

    def watch(handle: int) -> None:
        is_file = os.path.isfile(f"/proc/self/fd/{handle}")  # noqa: PTH113  # a link of /proc
        seen.append((is_file, target.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    local_place.store.put_stream("weights", [b"x"], limit=1)

    assert (True, False) in seen  # the bytes first
    assert seen[-1] == (False, True)  # then the folder that names them


def test_an_open_reader_survives_the_deletion(local_place: Place) -> None:
    local_place.store.put_stream("weights", [b"bytes"], limit=5)
    reader = local_place.store.open_range("weights")

    local_place.store.delete("weights")

    assert b"".join(reader) == b"bytes"


def test_a_reader_of_a_file_that_shrank_says_so(local_place: Place, tmp_path: Path) -> None:
    local_place.store.put_stream("weights", [b"bytes"], limit=5)
    reader = local_place.store.open_range("weights")

    os.truncate(tmp_path / "store" / "weights", 2)

    assert next(reader) == b"by"
    with pytest.raises(StoreUnavailable):
        next(reader)


def test_no_handle_stays_open(local_place: Place) -> None:
    local_place.store.put_stream("weights", [b"bytes"], limit=5)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names, not paths

    readers = [local_place.store.open_range("weights") for _ in range(50)]
    next(readers[0])
    del readers
    for _ in range(50):
        with pytest.raises(ObjectMissing):
            local_place.store.open_range("none")

    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208  # names, not paths


def test_files_are_for_their_owner_only(local_place: Place, tmp_path: Path) -> None:
    local_place.store.put_stream("deep/weights", [b"x"], limit=1)

    for path in (tmp_path / "store").rglob("*"):
        assert not path.stat().st_mode & 0o077
