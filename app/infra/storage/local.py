"""Objects as files below one folder: the store of the embedded service."""

import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from pathlib import Path

from app.infra.storage.contract import (
    CHUNK_BYTES,
    Meter,
    Stored,
    check_key,
    check_range,
    read_file,
)
from app.infra.storage.errors import ObjectMissing, StoreFull, StoreUnavailable

UNFINISHED = ".unfinished"  # no key begins with a dot
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LocalStore:
    """An object is the file of its key's name below ``root``; files are private (mode 600).

    Bytes go to a temporary file on the same file system, are synced and then renamed, so a
    reader never sees half an object and a power cut leaves the old one or the new one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        limit: int,
        expected_size: int | None = None,
        expected_sha256: str | None = None,
    ) -> Stored:
        """Store a stream; see ``ObjectStore.put_stream``."""
        check_key(key)
        meter = Meter(chunks, limit)
        unfinished = self._root / UNFINISHED / secrets.token_hex(16)
        try:
            with _os_errors():
                _make_folder(unfinished.parent)
                handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                for chunk in meter:
                    with _os_errors():
                        _write_all(file.fileno(), chunk)
                stored = meter.judge(expected_size, expected_sha256)
                with _os_errors():
                    os.fsync(file.fileno())
            with _os_errors():
                self._publish(unfinished, self._path(key))
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return stored

    def put_file(self, key: str, path: Path) -> Stored:
        """Store a copy of a local file."""
        size = path.stat().st_size
        return self.put_stream(key, read_file(path), limit=size, expected_size=size)

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Read a range; the file is opened at once, so a later deletion does not cut it off."""
        path = self._path(key)
        with _os_errors(key):
            file = path.open("rb", buffering=0)
        try:
            last = check_range(start, end, os.fstat(file.fileno()).st_size)
        except BaseException:
            file.close()
            raise
        return _Reader(file, start, last)

    def size(self, key: str) -> int:
        """Return the number of bytes stored.

        Raises:
            ObjectMissing: Nothing is stored under the key.
        """
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(key)
        with _os_errors(key):
            return path.stat().st_size

    def exists(self, key: str) -> bool:
        """Return whether something is stored under the key."""
        return self._path(key).is_file()

    def delete(self, key: str) -> int:
        """Remove the file; a file system that keeps snapshots keeps the bytes in them."""
        path = self._path(key)
        try:
            with _os_errors(key):
                path.unlink()
                _sync_folder(path.parent)
        except ObjectMissing:
            return 0
        return 1

    def list(self, prefix: str = "") -> Iterator[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        folder, _, _ = prefix.rpartition("/")
        if folder:
            check_key(folder)
        keys = []
        for parent, folders, names in os.walk(self._root / folder):
            folders[:] = [name for name in folders if name != UNFINISHED]
            place = Path(parent).relative_to(self._root)
            keys += [(place / name).as_posix() for name in names]
        return iter(sorted(key for key in keys if key.startswith(prefix)))

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Lend the file itself: nothing is copied.

        Raises:
            ObjectMissing: Nothing is stored under the key.
        """
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(key)
        yield path

    def clear_abandoned(self, older_than: timedelta) -> int:
        """Remove temporary files that were not written to for ``older_than``."""
        cleared = 0
        oldest = time.time() - older_than.total_seconds()
        for path in (self._root / UNFINISHED).glob("*"):
            try:
                if path.stat().st_mtime > oldest:
                    continue
                path.unlink()
            except FileNotFoundError:
                continue  # its writer has just finished
            cleared += 1
        return cleared

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    def _publish(self, unfinished: Path, path: Path) -> None:
        _make_folder(path.parent)
        unfinished.replace(path)
        _sync_folder(path.parent)


class _Reader:
    """Iterates over a range of an open file; closes it at the end, or when it is dropped."""

    def __init__(self, file: FileIO, start: int, end: int) -> None:
        self._file = file
        self._file.seek(start)
        self._left = end - start

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._left:
            self._file.close()
            raise StopIteration
        chunk = self._file.read(min(CHUNK_BYTES, self._left))
        if not chunk:
            raise StoreUnavailable("an object became shorter")
        self._left -= len(chunk)
        return chunk

    def __del__(self) -> None:
        self._file.close()


@contextmanager
def _os_errors(key: str | None = None) -> Iterator[None]:
    """Turn what the operating system says into an error of this package.

    Raises:
        ObjectMissing: There is no such file.
        StoreFull: No room is left.
        StoreUnavailable: Anything else.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if key is None:
            raise StoreUnavailable(errno.errorcode[error.errno or errno.EIO]) from error
        raise ObjectMissing(key) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StoreFull from None
        raise StoreUnavailable(errno.errorcode.get(error.errno or 0, "OSError")) from error


def _write_all(handle: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(handle, view) :]


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents so that they survive a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
