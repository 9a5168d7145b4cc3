"""The log as tiles: whoever has them alone derives the root that was signed."""

from hashlib import sha256

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.domain.actions import sealing
from app.infra.db import writing
from app.ledger.checkpoints import Checkpoint
from app.ledger.notes import Note
from tests.api.conftest import Service
from tests.sealed import append, seal
from tests.tiling import hashes_at, leaves_of, path_of, root_from_tiles

DATABASES = ("sqlite", "postgresql")
SIZES = (5, 255, 256, 257, 700)


@pytest.fixture(scope="module")
def signed(service: Service) -> list[Checkpoint]:
    """Checkpoints of a log that has grown past full tiles."""
    made = []
    with service.client() as client:
        for size in SIZES:
            append(size - seal())
            seal()
            made.append(Checkpoint.parse(Note.parse(client.checkpoint()).text))
    assert tuple(checkpoint.size for checkpoint in made) == SIZES
    return made


def test_the_root_of_every_checkpoint_is_rebuilt_from_tiles_alone(
    client: Lethe, signed: list[Checkpoint]
) -> None:
    for checkpoint in signed:
        assert root_from_tiles(client.tile, checkpoint.size) == checkpoint.root


def test_a_tile_is_bytes_that_may_be_kept_for_ever(
    http: httpx.Client, signed: list[Checkpoint]
) -> None:
    for path, length in (("0/000", 8192), ("0/002.p/188", 188 * 32), ("1/000.p/2", 64)):
        answer = http.get(f"/v1/log/tile/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert "immutable" in answer.headers["cache-control"]
        assert "max-age=31536000" in answer.headers["cache-control"]
        assert len(answer.content) == length


def test_partial_tiles_are_beginnings_of_full_ones(client: Lethe, signed: list[Checkpoint]) -> None:
    full = client.tile("0/001")
    for width in (1, 100, 255):
        assert client.tile(path_of(0, 1, width)) == full[: 32 * width]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("0/002", 404),
        ("0/002.p/189", 404),
        ("0/003.p/1", 404),
        ("1/000", 404),
        ("1/000.p/3", 404),
        ("2/000.p/1", 404),
        ("63/000.p/1", 404),
        ("0/x000/001", 404),
        ("0/000.p/256", 404),
        ("0/x999/x999/x999/x999/x999/999", 404),
        ("0/000.p/0", 422),
        ("0/000.p/01", 422),
        ("0/0", 422),
        ("00/000", 422),
        ("64/000", 422),
        ("-1/000", 422),
        ("0/", 422),
        ("0/000/", 422),
        ("0/..", 404),
        ("0/000.p/999", 404),
        ("entries/002", 404),
        ("entries/002.p/189", 404),
        ("entries/0", 422),
    ],
)
def test_other_tiles_are_not_there(
    http: httpx.Client, signed: list[Checkpoint], path: str, status: int
) -> None:
    answer = http.get(f"/v1/log/tile/{path}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "cache-control" not in answer.headers


def test_what_is_sealed_and_not_signed_is_not_shown(service: Service, client: Lethe) -> None:
    size = seal()
    append(1)
    with writing() as tx:
        assert sealing.seal(tx) == 1
    with pytest.raises(ApiProblem) as refused:
        client.tile(path_of(0, size // 256, size % 256 + 1))
    assert refused.value.status == 404


def test_the_operator_reads_the_entries_below_the_tiles(
    client: Lethe, signed: list[Checkpoint]
) -> None:
    size = signed[-1].size
    hashes = hashes_at(client.tile, 0, size)
    leaves = leaves_of(client.tile("entries/000") + client.tile("entries/001"))
    leaves += leaves_of(client.tile(path_of("entries", 2, size % 256)))

    assert [sha256(b"\x00" + leaf).digest() for leaf in leaves] == hashes


def test_tiles_take_the_right_to_audit_and_entries_the_operator(
    service: Service, signed: list[Checkpoint]
) -> None:
    tenant_id, stranger = service.tenant()
    for key, tile, entries in (
        (service.key("audit:read"), 200, 403),
        (service.key("models:read"), 403, 403),
        (service.key("audit:read", tenant_id=tenant_id), 200, 403),
        (stranger, 200, 403),
        (None, 401, 401),
    ):
        with service.http(key) as http:
            assert http.get("/v1/log/tile/0/000").status_code == tile
            assert http.get("/v1/log/tile/entries/000").status_code == entries
