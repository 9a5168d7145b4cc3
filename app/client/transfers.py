"""Files on their way: streamed in both directions, with progress and digests."""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from app.client.connection import Connection, Document, raise_for_problem
from app.client.errors import DigestWrong, Unreachable

CHUNK_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes transferred so far and the bytes in all."""


def quiet(_done: int, _total: int) -> None:
    """Show no progress."""


class Transfers(Connection):
    """Sends and fetches files."""

    def send_file(
        self,
        path: str,
        file: Path | bytes,
        *,
        progress: Progress = quiet,
        parameters: Mapping[str, Any] | None = None,
        digest: bool = True,
    ) -> Document:
        """Upload a file in bounded memory.

        Args:
            path: Where to.
            file: The file, or its bytes.
            progress: Called after each piece.
            parameters: Query parameters.
            digest: Announce the file's SHA-256, so that the service checks what arrives.

        Returns:
            The service's answer.

        Raises:
            Unreachable: The connection broke.
        """
        size = len(file) if isinstance(file, bytes) else file.stat().st_size
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if digest:
            headers["Repr-Digest"] = repr_digest(file)
        try:
            response = self._http.put(
                path,
                content=_counted(file, size, progress),
                headers=headers,
                params=dict(parameters or {}),
            )
        except httpx.TransportError as error:
            raise Unreachable(f"PUT {path}: {error}") from error
        raise_for_problem(response)
        return self._document(response)

    def fetch_file(self, path: str, file: Path, *, progress: Progress = quiet) -> str:
        """Download a file in bounded memory; it appears under its name when it is complete.

        Returns:
            Its digest, ``sha256:<hexadecimal>``.

        Raises:
            DigestWrong: The bytes are not those announced.
            Unreachable: The connection broke.
        """
        partial = file.with_name(f".{file.name}.partial")
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    raise_for_problem(response)
                found = _write(response, partial, progress)
                announced = response.headers.get("Repr-Digest")
        except httpx.TransportError as error:
            raise Unreachable(f"GET {path}: {error}") from error
        else:
            if announced not in {None, _header(found)}:
                raise DigestWrong(f"{path}: received sha256:{found.hex()}")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        return f"sha256:{found.hex()}"


def repr_digest(file: Path | bytes) -> str:
    """Return the ``Repr-Digest`` header (RFC 9530) of a file.

    >>> repr_digest(b"")
    'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:'
    """
    if isinstance(file, bytes):
        return _header(hashlib.sha256(file).digest())
    with file.open("rb") as opened:
        return _header(hashlib.file_digest(opened, "sha256").digest())


def _header(digest: bytes) -> str:
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def _counted(file: Path | bytes, size: int, progress: Progress) -> Iterator[bytes]:
    done = 0
    for chunk in _chunks(file):
        yield chunk
        done += len(chunk)
        progress(done, size)


def _chunks(file: Path | bytes) -> Iterator[bytes]:
    if isinstance(file, bytes):
        for start in range(0, len(file), CHUNK_BYTES):
            yield file[start : start + CHUNK_BYTES]
        return
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _write(response: httpx.Response, file: Path, progress: Progress) -> bytes:
    hasher = hashlib.sha256()
    total = int(response.headers.get("Content-Length", 0))
    done = 0
    with file.open("wb") as opened:
        for chunk in response.iter_bytes(CHUNK_BYTES):
            opened.write(chunk)
            hasher.update(chunk)
            done += len(chunk)
            progress(done, total)
        opened.flush()
        os.fsync(opened.fileno())
    return hasher.digest()
