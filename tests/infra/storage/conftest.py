"""A local folder and a real S3 server, for one suite over both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app.infra.storage import ObjectStore, open_store, s3

SMALLEST_PART = 5 << 20  # of S3


@dataclass(frozen=True)
class Place:
    """A store and a look behind it."""

    store: ObjectStore
    remnants: Callable[[], int]
    staging: Path


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3, "PART_BYTES", SMALLEST_PART)
    return s3_endpoint


@pytest.fixture(scope="session")
def s3_client(s3_endpoint: str) -> Any:
    return boto3.session.Session("test", "test", region_name="us-east-1").client(
        "s3", endpoint_url=s3_endpoint
    )


@pytest.fixture
def s3_place(s3_client: Any, s3_environment: str, tmp_path: Path) -> Place:
    bucket = f"lethe-{uuid4().hex[:12]}"
    s3_client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3_client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def remnants() -> int:
        versions = s3_client.list_object_versions(Bucket=bucket)
        uploads = s3_client.list_multipart_uploads(Bucket=bucket)
        return sum(
            len(found)
            for found in (
                versions.get("Versions", ()),
                versions.get("DeleteMarkers", ()),
                uploads.get("Uploads", ()),
            )
        )

    staging = tmp_path / "staging"
    return Place(open_store(f"s3://{bucket}/some/prefix", staging=staging), remnants, staging)


@pytest.fixture
def local_place(tmp_path: Path) -> Place:
    root, staging = tmp_path / "store", tmp_path / "staging"

    def remnants() -> int:
        return sum(path.is_file() for path in root.rglob("*"))

    return Place(open_store(f"file://{root}", staging=staging), remnants, staging)


@pytest.fixture(params=["local_place", "s3_place"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(place: Place) -> ObjectStore:
    return place.store
