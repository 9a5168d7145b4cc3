"""Objects in a bucket that speaks S3.

Credentials, region and endpoint come from where AWS's own tools take them: environment
variables (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``,
``AWS_ENDPOINT_URL_S3``), profiles, or the machine's role.

boto3 is imported when a store is made, so that a service on a local folder never loads it.
"""

import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.infra.storage.contract import (
    CHUNK_BYTES,
    Meter,
    Stored,
    check_key,
    check_range,
    read_file,
)
from app.infra.storage.errors import (
    DeletionRefused,
    ObjectMissing,
    RangeOutside,
    StorageError,
    StoreFull,
    StoreUnavailable,
)

PART_BYTES = 16 << 20  # S3 takes 10,000 parts, so objects up to 160 GiB
MISSING = ("404", "NoSuchKey", "NotFound")
NO_ROOM = ("QuotaExceeded", "XMinioStorageFull")
Versions = list[dict[str, str]]


class S3Store:
    """Keys of a bucket below a prefix.

    Small objects are one PUT, larger ones a multipart upload; both become visible whole.
    Deletion destroys all versions and delete markers of a key, because a plain S3 deletion
    on a versioned bucket only hides the bytes.
    """

    def __init__(
        self, bucket: str, prefix: str, staging: Path, *, endpoint: str | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._staging = staging
        self._client = connect(endpoint)

    def put_stream(
        self,
        key: str,
        chunks: Iterable[bytes],
        *,
        limit: int,
        expected_size: int | None = None,
        expected_sha256: str | None = None,
    ) -> Stored:
        """Store a stream, holding one part of 16 MiB; see ``ObjectStore.put_stream``."""
        where = self._where(key)
        meter = Meter(chunks, limit)
        parts = _regroup(meter, PART_BYTES)
        first = next(parts, b"")
        if len(first) < PART_BYTES:
            stored = meter.judge(expected_size, expected_sha256)
            with _s3_errors(key):
                self._client.put_object(**where, Body=first)
            return stored
        with _s3_errors(key):
            upload = {"UploadId": self._client.create_multipart_upload(**where)["UploadId"]}
        try:
            tags = [self._send(key, upload, 1, first)]
            tags += [self._send(key, upload, n, part) for n, part in enumerate(parts, 2)]
            stored = meter.judge(expected_size, expected_sha256)
            with _s3_errors(key):
                self._client.complete_multipart_upload(
                    **where, **upload, MultipartUpload={"Parts": tags}
                )
        except BaseException:
            # If this fails too, clear_abandoned() comes later; the first error is the story.
            with suppress(StorageError), _s3_errors(key):
                self._client.abort_multipart_upload(**where, **upload)
            raise
        return stored

    def put_file(self, key: str, path: Path) -> Stored:
        """Store a copy of a local file."""
        size = path.stat().st_size
        return self.put_stream(key, read_file(path), limit=size, expected_size=size)

    def open_range(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Read a range of the object as it was when the call was made."""
        with _s3_errors(key):
            head = self._client.head_object(**self._where(key))
        last = check_range(start, end, head["ContentLength"])
        if start == last:
            return iter(())
        with _s3_errors(key):
            answer = self._client.get_object(
                **self._where(key), Range=f"bytes={start}-{last - 1}", IfMatch=head["ETag"]
            )
        return _pieces(key, answer["Body"])

    def size(self, key: str) -> int:
        """Return the number of bytes stored."""
        with _s3_errors(key):
            return int(self._client.head_object(**self._where(key))["ContentLength"])

    def exists(self, key: str) -> bool:
        """Return whether something is stored under the key."""
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def delete(self, key: str) -> int:
        """Destroy all versions and delete markers of a key; see ``ObjectStore.delete``.

        Returns:
            How many versions with bytes there were.

        Raises:
            DeletionRefused: The bucket keeps some of them.
        """
        versions, markers = self._versions(key)
        for version in (*versions, *markers):
            with suppress(_NotAllowed), _s3_errors(key):  # what is kept is counted below
                self._client.delete_object(**self._where(key), **version)
        left, _ = self._versions(key)
        if left:
            raise DeletionRefused(key, len(left))
        return len(versions)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Return the keys that begin with ``prefix``, sorted as S3 sorts: by bytes."""
        folder, _, _ = prefix.rpartition("/")
        if folder:
            check_key(folder)
        return self._list(prefix)

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Download into the staging folder, lend the file, remove it."""
        chunks = self.open_range(key)
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="copy-", dir=self._staging) as folder:
            path = Path(folder) / secrets.token_hex(8)
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            yield path

    def clear_abandoned(self, older_than: timedelta) -> int:
        """Abort multipart uploads begun more than ``older_than`` ago."""
        oldest = datetime.now(UTC) - older_than
        cleared = 0
        for page in self._pages("list_multipart_uploads", self._prefix):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"] > oldest:
                    continue
                with _s3_errors(upload["Key"]):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                cleared += 1
        return cleared

    def _where(self, key: str) -> dict[str, str]:
        check_key(key)
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _send(self, key: str, upload: dict[str, str], number: int, part: bytes) -> dict[str, Any]:
        with _s3_errors(key):
            answer = self._client.upload_part(
                **self._where(key), **upload, PartNumber=number, Body=part
            )
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _list(self, prefix: str) -> Iterator[str]:
        for page in self._pages("list_objects_v2", self._prefix + prefix):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(self._prefix)

    def _versions(self, key: str) -> tuple[Versions, Versions]:
        """Return the versions of a key that hold bytes, and its delete markers."""
        versions: Versions = []
        markers: Versions = []
        full = self._where(key)["Key"]
        try:
            for page in self._pages("list_object_versions", full):
                for kind, found in (("Versions", versions), ("DeleteMarkers", markers)):
                    found += [
                        {"VersionId": item["VersionId"]}
                        for item in page.get(kind, ())
                        if item["Key"] == full
                    ]
        except _NoVersions:
            versions = [{}] if self.exists(key) else []
        return versions, markers

    def _pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=prefix)
        with _s3_errors(prefix):
            yield from pages


class _NoVersions(StoreUnavailable):
    """The store knows no versions of objects."""


class _NotAllowed(StoreUnavailable):
    """The store refuses an operation to these credentials."""


REFUSALS = {
    "AccessDenied": _NotAllowed,
    "InvalidRequest": _NotAllowed,
    "ObjectLocked": _NotAllowed,
    "NotImplemented": _NoVersions,
    "MethodNotAllowed": _NoVersions,
}


def connect(endpoint: str | None) -> Any:  # boto3 makes its classes while running
    """Return a client of AWS, or of the S3-compatible store at ``endpoint``."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 4},
        # Stores other than AWS's know neither buckets as host names nor the newer checksums.
        s3={"addressing_style": "path"} if endpoint else {},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)


def _regroup(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of ``size``; only the last one may be shorter."""
    buffer = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), size):
            buffer += chunk[start : start + size]
            if len(buffer) >= size:
                yield bytes(buffer[:size])
                del buffer[:size]
    if buffer:
        yield bytes(buffer)


def _pieces(key: str, body: Any) -> Iterator[bytes]:
    with _s3_errors(key):
        yield from body.iter_chunks(CHUNK_BYTES)


@contextmanager
def _s3_errors(key: str) -> Iterator[None]:
    """Turn what the client library raises into an error of this package.

    Raises:
        ObjectMissing: The bucket holds no such key.
        RangeOutside: The object has become shorter.
        StoreFull: A quota is exhausted.
        StoreUnavailable: Anything else.
    """
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in MISSING:
            raise ObjectMissing(key) from None
        if code == "InvalidRange":
            raise RangeOutside(0, 0, 0) from None
        if code in NO_ROOM:
            raise StoreFull from None
        raise REFUSALS.get(code, StoreUnavailable)(code) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(type(error).__name__) from error
