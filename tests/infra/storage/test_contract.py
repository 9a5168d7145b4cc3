"""What holds for every object store."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infra.storage import (
    BadKey,
    BadStoreUrl,
    DigestMismatch,
    ObjectMissing,
    ObjectStore,
    RangeOutside,
    SizeMismatch,
    StorageError,
    TooLarge,
    open_store,
)
from tests.infra.storage.conftest import Place

BIG = random.Random(7).randbytes(11 << 20)  # three parts of S3, eleven pieces of a file
KEY = "weights/mv_01/model.safetensors"


def in_pieces(data: bytes, size: int = 700_001) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one byte", "11 MiB"])
def test_bytes_come_back_as_they_went_in(store: ObjectStore, data: bytes) -> None:
    stored = store.put_stream(KEY, in_pieces(data), limit=len(data))

    assert stored.size == store.size(KEY) == len(data)
    assert stored.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert b"".join(store.open_range(KEY)) == data


def test_ranges_are_half_open_and_may_be_empty(store: ObjectStore) -> None:
    store.put_stream(KEY, [BIG], limit=len(BIG))

    for start, end in [
        (0, 1),
        (3, 3),
        (5_000_000, 7_500_000),
        (len(BIG), None),
        (len(BIG) - 1, None),
    ]:
        assert b"".join(store.open_range(KEY, start, end)) == BIG[start:end]


def test_a_range_outside_the_object_is_refused_at_once(store: ObjectStore) -> None:
    store.put_stream(KEY, [b"four"], limit=4)

    for start, end in [(-1, 2), (2, 1), (0, 5), (5, None)]:
        with pytest.raises(RangeOutside):
            store.open_range(KEY, start, end)


def test_pieces_stay_small(store: ObjectStore) -> None:
    store.put_stream(KEY, [BIG], limit=len(BIG))

    assert max(len(piece) for piece in store.open_range(KEY)) <= 1 << 20


def test_a_second_put_replaces_the_first(store: ObjectStore) -> None:
    store.put_stream(KEY, [b"old"], limit=3)
    store.put_stream(KEY, [b"newer"], limit=5)

    assert b"".join(store.open_range(KEY)) == b"newer"
    assert list(store.list()) == [KEY]


@pytest.mark.parametrize("data", [b"four", BIG], ids=["small", "many parts"])
class TestNothingIsLeftBehind:
    def test_by_a_stream_above_its_limit(self, place: Place, data: bytes) -> None:
        with pytest.raises(TooLarge) as refusal:
            place.store.put_stream(KEY, in_pieces(data), limit=len(data) - 1)

        assert refusal.value.limit == len(data) - 1
        assert not place.remnants()

    @pytest.mark.parametrize("difference", [-1, 1])
    def test_by_a_stream_of_another_length(
        self, place: Place, data: bytes, difference: int
    ) -> None:
        with pytest.raises(SizeMismatch):
            place.store.put_stream(
                KEY, in_pieces(data), limit=len(data), expected_size=len(data) + difference
            )

        assert not place.remnants()

    def test_by_a_stream_with_another_digest(self, place: Place, data: bytes) -> None:
        with pytest.raises(DigestMismatch):
            place.store.put_stream(
                KEY, in_pieces(data), limit=len(data), expected_sha256=hashlib.sha256().hexdigest()
            )

        assert not place.remnants()
        assert not place.store.exists(KEY)

    def test_by_a_stream_that_breaks_off(self, place: Place, data: bytes) -> None:
        def broken() -> Iterator[bytes]:
            yield from in_pieces(data)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            place.store.put_stream(KEY, broken(), limit=len(data))

        assert not place.remnants()


def test_a_refused_replacement_keeps_the_old_object(store: ObjectStore) -> None:
    store.put_stream(KEY, [b"old"], limit=3)

    with pytest.raises(DigestMismatch):
        store.put_stream(KEY, [b"new"], limit=3, expected_sha256="00" * 32)

    assert b"".join(store.open_range(KEY)) == b"old"


def test_deletion_leaves_no_byte_of_any_version(place: Place) -> None:
    place.store.put_stream(KEY, [b"first"], limit=5)
    place.store.put_stream(KEY, [b"second"], limit=6)
    place.store.put_stream(KEY + ".json", [b"kept"], limit=4)

    assert place.store.delete(KEY) >= 1

    assert place.remnants() == 1
    assert list(place.store.list()) == [KEY + ".json"]
    with pytest.raises(ObjectMissing):
        place.store.size(KEY)


def test_deletion_of_nothing_says_so(store: ObjectStore) -> None:
    assert store.delete(KEY) == 0


def test_the_missing_is_missing_for_every_reader(store: ObjectStore) -> None:
    store.put_stream("a/b", [b"x"], limit=1)

    for key in ("c", "a", "a/b/c"):
        assert not store.exists(key)
        with pytest.raises(ObjectMissing):
            store.size(key)
        with pytest.raises(ObjectMissing):
            store.open_range(key)
        with pytest.raises(ObjectMissing), store.local_copy(key):
            pass


def test_keys_are_listed_by_prefix_and_sorted(store: ObjectStore) -> None:
    for key in ("b/2", "b/10", "a", "b-1", "bc/3"):
        store.put_stream(key, [b"x"], limit=1)

    assert list(store.list()) == ["a", "b-1", "b/10", "b/2", "bc/3"]
    assert list(store.list("b/")) == ["b/10", "b/2"]
    assert list(store.list("b/1")) == ["b/10"]
    assert list(store.list("nothing/")) == []


def test_keys_that_we_would_not_make_are_refused(store: ObjectStore) -> None:
    unusual = ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a b", "a\\b"]
    unusual += ["a\0", "ä", "a\n", "x" * 201, "/".join("abcdefgh" * 20 for _ in range(9))]
    for key in unusual:
        for act in (
            store.size,
            store.exists,
            store.delete,
            store.open_range,
            lambda bad: store.put_stream(bad, [b"x"], limit=1),
        ):
            with pytest.raises(BadKey):
                act(key)


def test_a_prefix_cannot_climb_out(store: ObjectStore) -> None:
    with pytest.raises(BadKey):
        store.list("../../etc/pass")


def test_a_file_goes_in_and_is_lent_out(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(BIG)

    stored = place.store.put_file(KEY, path)

    assert stored.sha256 == hashlib.sha256(BIG).hexdigest()
    with place.store.local_copy(KEY) as copy:
        assert copy.read_bytes() == BIG
    assert not list(place.staging.rglob("*"))


def test_errors_share_one_base() -> None:
    for error in (BadKey, BadStoreUrl, DigestMismatch, ObjectMissing, SizeMismatch, TooLarge):
        assert issubclass(error, StorageError)


@pytest.mark.parametrize(
    "url", ["", "/folder", "file://", "file://elsewhere/x", "s3://", "gs://b/x", "s3://b/x?y=z"]
)
def test_an_address_without_a_store_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadStoreUrl):
        open_store(url, staging=tmp_path)
