"""What holds for buckets: versions, locks, dead servers, and that nobody else pays for boto3."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.infra.storage import DeletionRefused, ObjectMissing, StoreUnavailable, open_store
from app.infra.storage.make_bucket import make_bucket
from tests.infra.storage.conftest import Place


def only_bucket_of(place: Place) -> str:
    where: dict[str, str] = place.store._where("weights")  # type: ignore[attr-defined]  # S3 only
    return where["Bucket"]


def test_every_version_and_marker_is_destroyed(s3_place: Place, s3_client: Any) -> None:
    for content in (b"first", b"second"):
        s3_place.store.put_stream("weights", [content], limit=10)
    bucket = only_bucket_of(s3_place)
    s3_client.delete_object(Bucket=bucket, Key="some/prefix/weights")
    assert not s3_place.store.exists("weights")
    assert s3_place.remnants() == 3  # two versions and a marker that hides them

    assert s3_place.store.delete("weights") == 2

    assert not s3_place.remnants()


def test_a_bucket_without_versions_deletes_too(
    s3_place: Place, s3_client: Any, tmp_path: Path
) -> None:
    s3_client.create_bucket(Bucket="unversioned")
    store = open_store("s3://unversioned", staging=tmp_path)
    store.put_stream("weights", [b"x"], limit=1)

    assert store.delete("weights") == 1
    assert not store.exists("weights")


def test_a_lock_that_keeps_the_bytes_is_an_error(s3_place: Place, s3_client: Any) -> None:
    s3_place.store.put_stream("weights", [b"x"], limit=1)
    where = {"Bucket": only_bucket_of(s3_place), "Key": "some/prefix/weights"}
    s3_client.put_object_retention(
        **where,
        Retention={
            "Mode": "COMPLIANCE",
            "RetainUntilDate": datetime.now(UTC) + timedelta(days=1),
        },
    )

    with pytest.raises(DeletionRefused) as refusal:
        s3_place.store.delete("weights")

    assert refusal.value.versions == 1


def test_abandoned_uploads_are_aborted(s3_place: Place, s3_client: Any) -> None:
    s3_client.create_multipart_upload(Bucket=only_bucket_of(s3_place), Key="some/prefix/weights")

    assert s3_place.store.clear_abandoned(timedelta(days=9999)) == 0
    assert s3_place.store.clear_abandoned(timedelta(0)) == 1
    assert not s3_place.remnants()


def test_a_missing_bucket_is_not_a_missing_object(s3_environment: str, tmp_path: Path) -> None:
    store = open_store("s3://no-such-bucket", staging=tmp_path)

    with pytest.raises(StoreUnavailable):
        store.put_stream("weights", [b"x"], limit=1)


@pytest.mark.usefixtures("s3_environment")
def test_a_missing_bucket_is_made_once(tmp_path: Path) -> None:
    assert make_bucket("s3://just-made/prefix")
    assert not make_bucket("s3://just-made/prefix")

    store = open_store("s3://just-made/prefix", staging=tmp_path)
    assert store.put_stream("weights", [b"x"], limit=1).size == 1


@pytest.mark.usefixtures("s3_environment")
def test_a_dead_server_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    store = open_store("s3://bucket", staging=tmp_path)

    with pytest.raises(StoreUnavailable):
        store.put_stream("weights", [b"x"], limit=1)


def test_staging_is_empty_when_the_download_fails(s3_place: Place) -> None:
    with pytest.raises(ObjectMissing), s3_place.store.local_copy("none"):
        pass

    assert not list(s3_place.staging.rglob("*"))


def test_a_local_store_never_loads_boto3(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from app.infra.storage import open_store;"
        f"store = open_store('file://{tmp_path}/store', staging=Path('{tmp_path}'));"
        "store.put_stream('k', [b'x'], limit=1);"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
