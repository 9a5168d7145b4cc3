"""The export of a tenant's log: whole, exact, only theirs, and in bounded memory."""

import json
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.domain.actions import sealing
from app.infra.db import writing
from app.ledger.checkpoints import Checkpoint
from app.ledger.encoding import encode
from app.ledger.entries import Entry
from app.ledger.notes import Note, VerifierKey, verify_note
from tests.api.conftest import ADMIN_KEY, Service
from tests.sealed import append, seal
from tests.tiling import hashes_at, root_of

DATABASES = ("sqlite", "postgresql")


def exported(client: Lethe, folder: Path, since: int = 0) -> tuple[dict, list[dict]]:
    """Return the head and the entries of an export, having checked that it is whole."""
    client.export_entries(folder / "entries.ndjson", since=since)
    lines = [json.loads(line) for line in (folder / "entries.ndjson").read_bytes().splitlines()]
    head, *entries, last = lines
    assert last == {"entries": len(entries)}
    return head, entries


@pytest.fixture(scope="module")
def tenants(service: Service) -> dict[str, str]:
    """Two tenants whose entries alternate, and their keys."""
    made = dict(service.tenant() for _ in range(2))
    for count in (3, 600, 1, 700, 40):
        for tenant_id in made:
            append(count, tenant_id=tenant_id)
    seal()
    return made


def test_every_sealed_entry_is_exported_as_it_was_hashed(
    service: Service, tenants: dict[str, str], tmp_path: Path
) -> None:
    for tenant_id, key in tenants.items():
        with service.client(key) as client:
            head, entries = exported(client, tmp_path)
            listed = [entry for entry in client.audit_entries() if entry["index"] is not None]
        # The tenant's own key has left an entry or two besides.
        assert len(entries) == len(listed) >= 1344
        by_index = {entry["index"]: entry for entry in listed}
        assert [item["index"] for item in entries] == sorted(by_index)
        for item in entries:
            leaf = encode(item["leaf"])
            assert sha256(b"\x00" + leaf).hexdigest() == item["leaf_hash"]
            assert item["leaf_hash"] == by_index[item["index"]]["leaf_hash"]
            assert Entry.parse(leaf).tenant == tenant_id
        assert (head["from"], head["to"]) == (0, seal())


def test_the_exports_of_all_tenants_make_the_signed_root(
    service: Service, client: Lethe, tenants: dict[str, str], tmp_path: Path
) -> None:
    found: dict[int, str] = {}
    keys = list(tenants.values())
    for key in (ADMIN_KEY, *keys):
        with service.client(key) as owner:
            head, entries = exported(owner, tmp_path)
        found |= {item["index"]: item["leaf_hash"] for item in entries}
    note = Note.parse(head["checkpoint"].encode())
    verify_note(note, [VerifierKey.parse(key["vkey"]) for key in client.log_keys()])
    signed = Checkpoint.parse(note.text)
    missing = set(range(signed.size)) - found.keys()
    hashes = hashes_at(client.tile, 0, signed.size)

    # What no key of ours may export, other tests' tenants have made; the tiles hold their hashes.
    assert all(hashes[index].hex() == leaf_hash for index, leaf_hash in found.items())
    assert len(missing) < 50
    assert root_of(hashes) == signed.root


def test_an_export_goes_on_where_the_last_one_ended(
    service: Service, tenants: dict[str, str], tmp_path: Path
) -> None:
    tenant_id, key = next(iter(tenants.items()))
    with service.client(key) as client:
        head, entries = exported(client, tmp_path)
        middle = entries[700]["index"]
        assert exported(client, tmp_path, middle)[1] == entries[700:]
        append(5, tenant_id=tenant_id)
        seal()
        _, more = exported(client, tmp_path, head["to"])
        assert len(more) == 5
        again, none = exported(client, tmp_path, head["to"] + 5)
        assert none == []
        assert Checkpoint.parse(Note.parse(again["checkpoint"].encode()).text).size == again["to"]


def test_what_is_not_signed_yet_is_not_exported(
    service: Service, tenants: dict[str, str], tmp_path: Path
) -> None:
    tenant_id, key = next(iter(tenants.items()))
    with service.client(key) as client:
        _, before = exported(client, tmp_path)
        append(4, tenant_id=tenant_id)
        with writing() as tx:
            sealing.seal(tx)
        _, sealed = exported(client, tmp_path)
        assert sealed == before
        seal()
        assert len(exported(client, tmp_path)[1]) == len(before) + 4


@pytest.mark.parametrize(
    ("query", "status"),
    [("from=-1", 422), ("from=x", 422), ("to=999999999", 422), ("from=5&to=2", 200), ("to=0", 200)],
)
def test_the_ends_are_checked(
    http: httpx.Client, tenants: dict[str, str], query: str, status: int
) -> None:
    answer = http.get(f"/v1/audit/entries.ndjson?{query}")

    assert answer.status_code == status
    if status == 200:
        _, last = map(json.loads, answer.text.splitlines())
        assert last == {"entries": 0}
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert "attachment" in answer.headers["content-disposition"]


def test_it_takes_the_right_to_audit(service: Service, tmp_path: Path) -> None:
    with service.client(service.key("requests:read", "models:read")) as reader:
        for look in (
            lambda: reader.export_entries(tmp_path / "x"),
            lambda: reader.export_register(tmp_path / "x"),
        ):
            with pytest.raises(ApiProblem) as refused:
                look()
            assert refused.value.status == 403
    assert not (tmp_path / "x").exists()
