"""What every object store does, and the values and checks that the stores share."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from app.infra.storage.errors import BadKey, DigestMismatch, RangeOutside, SizeMismatch, TooLarge

CHUNK_BYTES = 1 << 20
KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,199})*")
MAX_KEY_CHARACTERS = 800  # S3 allows 1024 bytes with the prefix


class Stored(NamedTuple):
    """What was stored.

    Attributes:
        size: Number of bytes.
        sha256: SHA-256 of the bytes, in lower case hexadecimal.
    """

    size: int
    sha256: str

    @property
    def digest(self) -> str:
        """The digest with its algorithm, as the HTTP interface writes it."""
        return f"sha256:{self.sha256}"


class ObjectStore(Protocol):
    """Immutable byte strings under keys that the service makes itself.

    A key becomes visible with all its bytes or not at all, and survives a power cut once
    its ``put`` returned. Every method raises ``BadKey`` for a key that is not plain words,
    digits, dots, dashes and underscores between single slashes, and ``StoreUnavailable``
    when the store does not answer.
    """

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        limit: int,
        expected_size: int | None = None,
        expected_sha256: str | None = None,
    ) -> Stored:
        """Store a stream in bounded memory; whatever goes wrong, nothing is left behind.

        An object that is already there under the key is replaced. An exception raised by
        ``chunks`` passes through unchanged.

        Args:
            key: Where the bytes go.
            chunks: The bytes, in pieces of any size.
            limit: Most bytes accepted.
            expected_size: Announced number of bytes, if any.
            expected_sha256: Announced SHA-256 in hexadecimal, if any.

        Raises:
            TooLarge: The stream is longer than ``limit``.
            SizeMismatch: The stream is not ``expected_size`` bytes long.
            DigestMismatch: The stream's digest is not ``expected_sha256``.
            StoreFull: No room is left.
        """
        ...

    def put_file(self, key: str, path: Path) -> Stored:
        """Store a copy of a local file, with the guarantees of ``put_stream``."""
        ...

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Read bytes ``start`` to ``end`` (exclusive; None: to the last) in bounded memory.

        A missing object or a bad range is reported by the call, not by the first piece.

        Raises:
            ObjectMissing: Nothing is stored under the key.
            RangeOutside: Not ``0 <= start <= end <= size``.
        """
        ...

    def size(self, key: str) -> int:
        """Return the number of bytes stored.

        Raises:
            ObjectMissing: Nothing is stored under the key.
        """
        ...

    def exists(self, key: str) -> bool:
        """Return whether something is stored under the key."""
        ...

    def delete(self, key: str) -> int:
        """Destroy every version of an object; return how many there were (0: none).

        Raises:
            DeletionRefused: The store keeps some of them, for instance under a retention lock.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Return the keys that begin with ``prefix``, sorted."""
        ...

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """Lend a path on local disk that holds the object; it must not be written to.

        Raises:
            ObjectMissing: Nothing is stored under the key.
        """
        ...

    def clear_abandoned(self, older_than: timedelta) -> int:
        """Destroy what killed processes left half-written; return how much there was.

        ``older_than`` has to exceed the longest upload, which would be cut off otherwise.
        """
        ...


def check_key(key: str) -> None:
    """Refuse a key that the service would not make, such as one that climbs out of the store.

    >>> check_key("weights/mv_01/model.safetensors")
    >>> check_key("../secret")
    Traceback (most recent call last):
        ...
    app.infra.storage.errors.BadKey: an object key has an unexpected form

    Raises:
        BadKey: The key is empty, too long, absolute, or holds anything unusual.
    """
    if len(key) > MAX_KEY_CHARACTERS or not KEY.fullmatch(key):
        raise BadKey


def check_range(start: int, end: int | None, size: int) -> int:
    """Return the end of a range with None replaced by ``size``.

    Raises:
        RangeOutside: Not ``0 <= start <= end <= size``.
    """
    last = size if end is None else end
    if not 0 <= start <= last <= size:
        raise RangeOutside(start, last, size)
    return last


def read_file(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes in pieces of at most ``CHUNK_BYTES``."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class Meter:
    """Counts and hashes a stream on its way, and judges it at its end."""

    def __init__(self, chunks: Iterable[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._size = 0
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        """Pass the chunks on.

        Raises:
            TooLarge: More than ``limit`` bytes arrived; the surplus is not passed on.
        """
        for chunk in self._chunks:
            self._size += len(chunk)
            if self._size > self._limit:
                raise TooLarge(self._limit)
            self._hash.update(chunk)
            yield chunk

    def judge(self, expected_size: int | None, expected_sha256: str | None) -> Stored:
        """Return what passed by.

        Raises:
            SizeMismatch: It is not ``expected_size`` bytes long.
            DigestMismatch: Its digest is not ``expected_sha256``.
        """
        stored = Stored(self._size, self._hash.hexdigest())
        if expected_size is not None and stored.size != expected_size:
            raise SizeMismatch(expected_size, stored.size)
        if expected_sha256 is not None and stored.sha256 != expected_sha256.lower():
            raise DigestMismatch(expected_sha256.lower(), stored.sha256)
        return stored
