"""The log over HTTP: checkpoints, keys, leaves, proofs, certificates and evidence."""

import json
from pathlib import Path

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.domain.actions import certifying
from app.infra.db import reading, writing
from app.ledger.checkpoints import Checkpoint
from app.ledger.consistency import verify_consistency
from app.ledger.entries import Entry
from app.ledger.inclusion import verify_inclusion
from app.ledger.notes import Note, VerifierKey, verify_note
from app.ledger.tree_hash import hash_leaf
from app.ledger.verify import Expectations, Refused, read_evidence, read_keys, verify_evidence
from tests.api.conftest import Service
from tests.api.registered import live_version
from tests.sealed import seal

DATABASES = ("sqlite", "postgresql")


def certify() -> None:
    seal()
    with reading() as tx:
        due = certifying.due(tx)
    for request_id in due:
        with writing() as tx:
            certifying.issue(tx, request_id)
    seal()


def signed(client: Lethe) -> Checkpoint:
    note = Note.parse(client.checkpoint())
    verify_note(note, [VerifierKey.parse(key["vkey"]) for key in client.log_keys()])
    return Checkpoint.parse(note.text)


@pytest.fixture
def ended(client: Lethe) -> str:
    """A request that is over without a worker: nothing of it is known."""
    live = live_version(client)
    shown = client.submit_deletion(live.dataset_id, sample_ids=["nobody"], regulation="gdpr")
    assert shown["state"] == "nothing_found"
    return str(shown["id"])


def test_entries_have_their_place_once_they_are_sealed(client: Lethe, ended: str) -> None:
    before = list(client.audit_entries(request_id=ended))
    assert [(entry["index"], entry["leaf_hash"]) for entry in before] == [(None, None)] * 2
    seal()
    for entry in client.audit_entries(request_id=ended):
        leaf = client.leaf(entry["index"])
        assert hash_leaf(leaf).hex() == entry["leaf_hash"]
        record = Entry.parse(leaf)
        assert (record.id, record.type) == (entry["id"], entry["type"])
    assert [entry["index"] for entry in client.events(ended)] == [
        entry["index"] for entry in client.audit_entries(request_id=ended)
    ]


def test_proofs_lead_to_the_signed_checkpoint(client: Lethe, ended: str) -> None:
    seal()
    now = signed(client)
    for entry in client.audit_entries(request_id=ended):
        proof = client.prove_inclusion(entry["id"])
        assert (proof["size"], proof["root"]) == (now.size, now.root.hex())
        verify_inclusion(
            index=proof["index"],
            size=proof["size"],
            leaf_hash=bytes.fromhex(entry["leaf_hash"]),
            proof=[bytes.fromhex(part) for part in proof["hashes"]],
            root=now.root,
        )


def test_the_log_continues_what_a_client_has_kept(client: Lethe, ended: str) -> None:
    seal()
    kept = signed(client)
    client.create_model("another")
    seal()
    now = signed(client)
    assert now.size > kept.size
    proof = client.prove_consistency(kept.size)
    assert (proof["from"], proof["to"]) == (kept.size, now.size)
    verify_consistency(
        size=kept.size,
        root=kept.root,
        later_size=now.size,
        later_root=now.root,
        proof=[bytes.fromhex(part) for part in proof["hashes"]],
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/log/leaves/999999", 404),
        ("/v1/log/leaves/-1", 422),
        ("/v1/log/leaves/x", 422),
        ("/v1/log/proof/inclusion", 422),
        ("/v1/log/proof/inclusion?entry_id=evt_00000000000000000000000000", 404),
        ("/v1/log/proof/consistency?from=1&to=999999", 422),
        ("/v1/log/proof/consistency?from=2&to=1", 422),
        ("/v1/log/proof/consistency?from=0", 422),
        ("/v1/log/proof/consistency", 422),
    ],
)
def test_what_is_not_there_is_refused(
    http: httpx.Client, client: Lethe, ended: str, path: str, status: int
) -> None:
    seal()
    answer = http.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_proof_for_a_tree_without_the_entry_is_refused(client: Lethe, ended: str) -> None:
    seal()
    [first, *_] = client.audit_entries(request_id=ended)
    with pytest.raises(ApiProblem) as refused:
        client.prove_inclusion(first["id"], size=first["index"])
    assert (refused.value.status, refused.value.code) == (422, "no-such-proof")


def test_another_tenant_sees_neither_leaves_nor_proofs(
    service: Service, client: Lethe, ended: str
) -> None:
    seal()
    [entry, *_] = client.audit_entries(request_id=ended)
    with service.client(service.tenant()[1]) as stranger:
        assert signed(stranger).size > entry["index"]
        for look in (
            lambda: stranger.leaf(entry["index"]),
            lambda: stranger.prove_inclusion(entry["id"]),
            lambda: stranger.certificate(ended),
        ):
            with pytest.raises(ApiProblem) as refused:
                look()
            assert refused.value.status == 404


def test_the_log_takes_the_right_to_audit(service: Service) -> None:
    with service.client(service.key("models:read")) as reader:
        for look in (reader.checkpoint, reader.log_keys):
            with pytest.raises(ApiProblem) as refused:
                look()
            assert refused.value.status == 403


def test_the_evidence_is_downloaded_and_verified_offline(
    client: Lethe, ended: str, tmp_path: Path
) -> None:
    assert client.request(ended)["certificate"] is None
    for look in (
        lambda: client.certificate(ended),
        lambda: client.download_evidence(ended, tmp_path / "none.zip"),
    ):
        with pytest.raises(ApiProblem) as missing:
            look()
        assert (missing.value.status, missing.value.code) == (404, "certificate-not-issued")
    certify()
    kept = client.checkpoint()
    assert client.request(ended)["certificate"] == f"/v1/requests/{ended}/certificate"
    assert client.wait_for_certificate(ended)["payloadType"] == "application/vnd.in-toto+json"
    file = tmp_path / "evidence.zip"
    client.download_evidence(ended, file)
    keys = read_keys(json.dumps({"items": client.log_keys()}).encode())
    expected = Expectations(keys=keys, pinned=kept, request_id=ended)
    assert ended in verify_evidence(read_evidence(file), expected)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(Refused, match="MalformedEvidence"):
        read_evidence(file)
