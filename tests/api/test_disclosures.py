"""What a request named, over HTTP: shown to one, shown in full, destroyed, taken back."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.domain.log import RequestCommitment
from app.ledger.verify import (
    Expectations,
    Outcome,
    Refused,
    read_evidence,
    read_keys,
    verify_evidence,
)
from app.ledger.verify_disclosed import verify_disclosed
from tests.api.conftest import Service
from tests.api.registered import live_version
from tests.certified import certify

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def ended(client: Lethe) -> str:
    """A request that is over without a worker: nothing of it is known."""
    live = live_version(client)
    shown = client.submit_deletion(live.dataset_id, sample_ids=["nobody", "nobody else"])
    certify()
    return str(shown["id"])


def trusted(client: Lethe) -> Expectations:
    return Expectations(keys=read_keys(json.dumps({"items": client.log_keys()}).encode()))


def evidence(client: Lethe, request_id: str, folder: Path) -> dict[str, bytes]:
    path = folder / "evidence.zip"
    client.download_evidence(request_id, path)
    return read_evidence(path)


def refusal(look: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ApiProblem) as problem:
        look()
    return problem.value.status, problem.value.code


def test_one_member_is_shown_offline_and_no_other(
    client: Lethe, ended: str, tmp_path: Path
) -> None:
    document = client.prove_membership(ended, sample_id="nobody")
    assert "else" not in json.dumps(document)
    shown = json.dumps(document).encode()
    files = evidence(client, ended, tmp_path)
    verify_disclosed(files, trusted(client), members=[shown])
    other = json.dumps({**document, "member": "sample:nobody else"}).encode()
    with pytest.raises(Refused, match="NotCommitted"):
        verify_disclosed(files, trusted(client), members=[other])


def test_the_detail_is_shown_offline(client: Lethe, ended: str, tmp_path: Path) -> None:
    document = client.disclose(ended)
    assert json.loads(document["detail"])["sample_ids"] == ["nobody", "nobody else"]
    shown = json.dumps(document).encode()
    verify_disclosed(evidence(client, ended, tmp_path), trusted(client), details=[shown])


def test_what_was_not_named_is_not_shown(client: Lethe, ended: str, http: httpx.Client) -> None:
    assert refusal(lambda: client.prove_membership(ended, sample_id="somebody")) == (
        404,
        "not-named",
    )
    assert refusal(lambda: client.prove_membership(ended, subject_id="nobody")) == (
        404,
        "not-named",
    )
    for body in ({}, {"sample_id": "a", "subject_id": "b"}, {"sample_id": ""}, {"id": "a"}):
        answer = http.post(f"/v1/requests/{ended}/membership", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_shredding_ends_it_and_the_evidence_still_holds(
    client: Lethe, ended: str, tmp_path: Path, service: Service
) -> None:
    assert client.shred(ended)["state"] == "nothing_found"
    for look in (
        lambda: client.prove_membership(ended, sample_id="nobody"),
        lambda: client.prove_membership(ended, sample_id="somebody"),
        lambda: client.disclose(ended),
    ):
        assert refusal(look) == (410, "shredded")
    assert refusal(lambda: client.shred(ended)) == (409, "already-shredded")
    verify_evidence(evidence(client, ended, tmp_path), trusted(client))
    record = service.write(lambda tx: tx.get_one(RequestCommitment, ended))
    assert (record.wrapped_key, record.key_epoch) == (None, 1)
    types = [entry["type"] for entry in client.events(ended)]
    assert types[-1] == "detail.shredded"


def test_a_revoked_certificate_is_followed_by_one_that_says_so(
    client: Lethe, ended: str, tmp_path: Path, http: httpx.Client
) -> None:
    later = f"/v1/requests/{ended}/certificate?number=1"
    assert http.get(later).json()["code"] == "certificate-not-issued"
    assert refusal(lambda: client.revoke_certificate(ended, "whatever")) == (422, "unknown-reason")
    client.revoke_certificate(ended, "issued-in-error")
    certify()
    assert http.get(later).json()["payloadType"] == "application/vnd.in-toto+json"
    assert http.get(later).content != http.get(later.partition("?")[0]).content
    with pytest.raises(Refused) as refused:
        verify_evidence(evidence(client, ended, tmp_path), trusted(client))
    assert (refused.value.outcome, refused.value.name) == (Outcome.STALE, "Revoked")
    assert refusal(lambda: client.revoke_certificate(ended, "issued-in-error")) == (
        409,
        "certificate-revoked",
    )


def test_it_takes_the_right_to_decide(service: Service, ended: str) -> None:
    reader = service.key("requests:read", "requests:write", "audit:read")
    with service.client(reader) as client:
        for look in (
            lambda: client.prove_membership(ended, sample_id="nobody"),
            lambda: client.disclose(ended),
            lambda: client.shred(ended),
            lambda: client.revoke_certificate(ended, "issued-in-error"),
        ):
            assert refusal(look) == (403, "missing-scope")
    with service.client(service.key("requests:decide")) as client:
        client.disclose(ended)


def test_what_is_shown_is_kept_for_nobody(service: Service, http: httpx.Client, ended: str) -> None:
    key = {"Idempotency-Key": "once"}
    path = f"/v1/requests/{ended}/membership"
    answers = [
        http.post(path, json={"sample_id": "nobody"}, headers=key),
        http.post(f"/v1/requests/{ended}/disclosure", headers=key),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    again = http.post(path, json={"sample_id": "nobody else"}, headers=key)
    assert again.json()["member"] == "sample:nobody else"
    assert b"nobody" not in service.log.read_bytes()
