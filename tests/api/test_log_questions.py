"""Whatever is asked of the log: the right proof, or a refusal, and never a fault of the service."""

import json
import string
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.ledger.merkle import MemoryTree, Node, prove_consistency, prove_inclusion
from tests.api.conftest import Service
from tests.sealed import append, seal

DATABASES = ("sqlite", "postgresql")
PROBLEM = "application/problem+json"

Asked = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([2**31, 2**32, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**40, -(2**63)]),
    st.sampled_from(["", " ", "1 ", "+1", "01", "1.0", "1e1", "0x1", "٣", "nan", "null", "1_0"]),
)
quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def log(service: Service) -> tuple[MemoryTree, list[str], int]:
    """The tree as a client rebuilds it, the tenant's entries in it, and what is signed of it."""
    with service.http() as http:
        append(3, tenant_id="ten_stranger")
        seal()
        http.post("/v1/models", json={"name": "one"})
        append(9, tenant_id="ten_stranger")
        http.post("/v1/models", json={"name": "two"})
        signed = seal()
        http.post("/v1/models", json={"name": "not sealed"})
        tiles = http.get(f"/v1/log/tile/0/000.p/{signed}").content
        listed = http.get("/v1/audit/entries", params={"limit": 500}).json()["items"]
    tree = MemoryTree(tiles[place : place + 32] for place in range(0, len(tiles), 32))
    assert tree.size == signed
    assert [entry["index"] for entry in listed].count(None) == 1
    places = [""] * signed
    for entry in listed:
        if entry["index"] is not None:
            places[entry["index"]] = entry["id"]
    return tree, places, signed


def asked(http: httpx.Client, path: str, **params: Any) -> httpx.Response:
    """Ask; whatever is refused is refused as a problem, by the client's fault."""
    answer = http.get(path, params=params)
    assert answer.status_code in {200, 400, 404, 422}
    if answer.status_code != 200:
        assert answer.headers["content-type"] == PROBLEM
    return answer


@quick
@given(place=st.integers(0, 15), size=Asked)
def test_inclusion(
    http: httpx.Client, log: tuple[MemoryTree, list[str], int], place: int, size: object
) -> None:
    tree, places, signed = log
    entry_id = places[place % signed]
    answer = asked(http, "/v1/log/proof/inclusion", entry_id=entry_id, size=size)
    index = place % signed
    if entry_id and isinstance(size, int) and index < size <= signed:
        hashes = [part.hex() for part in prove_inclusion(index, size, tree.read)]
        expected = {
            "index": index,
            "size": size,
            "hashes": hashes,
            "root": tree.root(size).hex(),
        }
        assert answer.json() == expected
    elif isinstance(size, int) or not entry_id:
        assert answer.status_code in {404, 422}


@quick
@given(earlier=Asked, later=Asked)
def test_consistency(
    http: httpx.Client,
    log: tuple[MemoryTree, list[str], int],
    earlier: object,
    later: object,
) -> None:
    tree, _, signed = log
    answer = asked(http, "/v1/log/proof/consistency", **{"from": earlier, "to": later})
    if isinstance(earlier, int) and isinstance(later, int):
        if 1 <= earlier <= later <= signed:
            hashes = [part.hex() for part in prove_consistency(earlier, later, tree.read)]
            assert answer.json() == {"from": earlier, "to": later, "hashes": hashes}
        else:
            assert answer.status_code == 422


@quick
@given(index=Asked, start=Asked, stop=Asked)
def test_leaves_and_exports(
    http: httpx.Client,
    log: tuple[MemoryTree, list[str], int],
    index: object,
    start: object,
    stop: object,
) -> None:
    _, places, signed = log
    answer = asked(http, f"/v1/log/leaves/{str(index).strip() or '-'}")
    if isinstance(index, int):
        is_ours = 0 <= index < signed and places[index] != ""
        assert (answer.status_code == 200) == is_ours
    exported = asked(http, "/v1/audit/entries.ndjson", **{"from": start, "to": stop})
    if isinstance(start, int) and isinstance(stop, int) and exported.status_code == 200:
        assert start >= 0
        assert 0 <= stop <= signed
        found = [json.loads(line) for line in exported.text.splitlines()][1:-1]
        assert [item["index"] for item in found] == [
            place for place in range(start, stop) if places[place]
        ]


@quick
@given(
    path=st.one_of(
        st.text(string.digits + "x/.p%-", max_size=20),
        st.builds(
            "{}/{}.p/{}".format,
            st.integers(0, 70),
            st.sampled_from(["000", "001", "x001/000", "999"]),
            st.integers(0, 300),
        ),
    )
)
def test_tiles(http: httpx.Client, log: tuple[MemoryTree, list[str], int], path: str) -> None:
    tree, _, signed = log
    answer = http.get(f"/v1/log/tile/{path}")
    assert answer.status_code in {200, 307, 400, 404, 405, 422}
    if answer.status_code == 200 and path.startswith("0/000.p/"):
        width = int(path.removeprefix("0/000.p/"))
        assert 0 < width <= signed
        leaves = [Node(0, place) for place in range(width)]
        assert answer.content == b"".join(tree.read(leaves).values())


def test_an_export_that_is_read_slowly_is_of_one_size(service: Service) -> None:
    """Entries that are sealed while it is read are left to the next one."""
    tenant_id, key = service.tenant()
    append(700, tenant_id=tenant_id)
    size = seal()
    with (
        service.http(key) as http,
        http.stream("GET", "/v1/audit/entries.ndjson") as answer,
    ):
        pieces = answer.iter_raw(256)
        text = next(pieces)
        append(700, tenant_id=tenant_id)
        assert seal() >= size + 700
        text += b"".join(pieces)
    head, *entries, last = map(json.loads, text.splitlines())
    assert head["to"] == size
    assert last == {"entries": len(entries)}
    assert 700 <= len(entries) < 720
    assert max(entry["index"] for entry in entries) < size
