"""Requests over HTTP: filed, previewed, waited for, found, cancelled."""

import threading
import time

import httpx
import pytest
from sqlalchemy import func, select

from app.client import ApiProblem, Lethe
from app.domain.audit import AuditEntry
from app.domain.requests import Request
from app.domain.suppression import Suppression
from app.infra import db
from tests.api.conftest import Service
from tests.api.registered import Registered, claim, live_version, ready_dataset
from tests.api.test_conventions import problem

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
def live(client: Lethe) -> Registered:
    return live_version(client)


def everything() -> tuple[int, ...]:
    """Count what an intake could write."""
    with db.reading() as tx:
        return tuple(
            tx.scalar(select(func.count()).select_from(table)) or 0
            for table in (Request, Suppression, AuditEntry)
        )


def test_a_deletion_is_accepted(client: Lethe, http: httpx.Client, live: Registered) -> None:
    body = {
        "dataset_id": live.dataset_id,
        "sample_ids": ["s0", "s1", "unknown"],
        "regulation": "gdpr",
        "submitted_at": "2026-01-31T12:00:00+01:00",
        "reference": "case-1042",
    }
    response = http.post("/v1/deletion-requests", json=body)
    assert response.status_code == 202
    shown = response.json()
    assert response.headers["location"] == f"/v1/requests/{shown['id']}"
    assert response.headers["retry-after"]
    assert (shown["kind"], shown["state"], shown["done"]) == ("deletion", "scheduled", False)
    assert shown["counts"] == {"samples": 2, "unknown": 1, "already_deleted": 0}
    assert shown["submitted_at"] == "2026-01-31T11:00:00.000000Z"
    assert shown["due_at"] == "2026-02-28T11:00:00.000000Z"
    assert shown["certificate"] is None
    (target,) = shown["targets"]
    assert (target["version_id"], target["state"]) == (live.version_id, "waiting")
    assert target["job_ids"] == [target["job_id"]]

    assert client.version(live.model_id, live.version_id)["state"] == "tainted"
    tainted = http.get(f"{live.path}/weights")
    assert tainted.headers["lethe-tainted"] == "true"
    assert tainted.content == live.weights
    assert client.model(live.model_id)["live_version_id"] == live.version_id

    job = client.job(target["job_id"])
    assert (job["state"], job["done"], job["request_ids"]) == ("queued", False, [shown["id"]])
    assert [item["id"] for item in client.jobs(request_id=shown["id"])] == [job["id"]]
    types = [entry["type"] for entry in client.events(shown["id"])]
    assert types[0] == "request.created"
    assert "request.scheduled" in types
    for entry in client.audit_entries(request_id=shown["id"]):
        assert (entry["index"], entry["leaf_hash"]) == (None, None)
        assert "s0" not in str(entry["facts"])


def test_a_correction_is_accepted(client: Lethe, live: Registered) -> None:
    shown = client.submit_correction(
        live.dataset_id,
        corrections=[
            {"sample_id": "s2", "label": 1},
            {"sample_id": "s3", "features": {"x": [9, 9.5]}},
        ],
    )
    assert shown["kind"] == "correction"
    assert shown["counts"]["samples"] == 2


def test_nothing_known_is_nothing_found(client: Lethe, live: Registered) -> None:
    shown = client.submit_deletion(live.dataset_id, sample_ids=["nobody"])
    assert (shown["state"], shown["done"], shown["targets"]) == ("nothing_found", True, [])


@pytest.mark.parametrize(
    ("path", "change", "code", "pointer"),
    [
        ("deletion-requests", {}, "empty-request", None),
        ("deletion-requests", {"sample_ids": ["s0"], "regulation": "lex"}, None, "/regulation"),
        ("deletion-requests", {"labels": [[1]]}, None, "/labels/0"),
        ("deletion-requests", {"sample_ids": ["s0"], "submitted_at": "now"}, None, "/submitted_at"),
        ("corrections", {}, "empty-request", None),
        ("corrections", {"corrections": [{"sample_id": "s0", "features": {"y": 1}}]}, None,
         "/corrections/0/features/y"),
        ("corrections", {"corrections": [{"sample_id": "s0", "features": {"x": "wide"}}]}, None,
         "/corrections/0/features/x"),
        ("corrections", {"corrections": [{"sample_id": "s0", "label": 1, "tail": 1}]}, None,
         "/corrections/0/tail"),
        ("corrections", {"feature_removal": {"columns": ["y"]}}, None,
         "/feature_removal/columns/0"),
        ("corrections", {"feature_removal": {"columns": []}}, None, "/feature_removal/columns"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_and_leave_nothing(
    http: httpx.Client,
    live: Registered,
    path: str,
    change: dict,
    code: str | None,
    pointer: str | None,
) -> None:
    before = everything()
    for suffix in ("", "/preview"):
        response = http.post(f"/v1/{path}{suffix}", json={"dataset_id": live.dataset_id, **change})
        assert response.status_code == 422, response.text
        document = response.json()
        assert code in {None, document["code"]}
        if pointer is not None:
            assert pointer in [error["pointer"] for error in document["errors"]]
    assert everything() == before


def test_a_preview_changes_nothing(client: Lethe, live: Registered) -> None:
    before = everything()
    shown = client.preview_deletion(live.dataset_id, subject_ids=["p0"])
    assert shown["counts"]["samples"] == 2
    (target,) = shown["targets"]
    assert (target["version_id"], target["model_id"]) == (live.version_id, live.model_id)
    assert target["rows"] == 2
    assert client.preview_correction(
        live.dataset_id, corrections=[{"sample_id": "s2", "label": 1}]
    )["targets"]
    assert everything() == before
    assert client.version(live.model_id, live.version_id)["state"] == "live"


def test_a_dataset_without_rows_is_a_conflict(client: Lethe) -> None:
    dataset_id = client.create_dataset("empty", id="id")["id"]
    with pytest.raises(ApiProblem, match="409 dataset-not-ready"):
        client.submit_deletion(dataset_id, sample_ids=["a"])


def test_cancelling_lifts_the_taint_once(client: Lethe, live: Registered) -> None:
    shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
    with pytest.raises(ApiProblem, match="412 stale-etag"):
        client.cancel_request(shown["id"], if_match='"req_x.1"')
    cancelled = client.cancel_request(shown["id"], if_match=shown["etag"])
    assert (cancelled["state"], cancelled["done"]) == ("cancelled", True)
    assert client.version(live.model_id, live.version_id)["state"] == "live"
    with pytest.raises(ApiProblem, match="409"):
        client.cancel_request(shown["id"])
    with pytest.raises(ApiProblem, match="409"):
        client.retry_request(shown["id"])


def test_waiting_ends_when_it_is_done_or_time_is_up(client: Lethe, live: Registered) -> None:
    shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
    began = time.monotonic()
    assert not client.get(f"/v1/requests/{shown['id']}", wait=0.4)["done"]
    assert time.monotonic() - began >= 0.4

    timer = threading.Timer(0.5, client.cancel_request, (shown["id"],))
    timer.start()
    began = time.monotonic()
    assert client.wait_for_request(shown["id"], timeout=20)["state"] == "cancelled"
    assert time.monotonic() - began < 10
    timer.join()


def test_waiting_ends_when_something_has_changed(
    client: Lethe, http: httpx.Client, live: Registered
) -> None:
    shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
    path, held = f"/v1/requests/{shown['id']}", {"If-None-Match": shown["etag"]}
    assert http.get(path, params={"wait": 0.3}, headers=held).status_code == 304
    timer = threading.Timer(0.3, _claim_unlearning)
    timer.start()
    response = http.get(path, params={"wait": 20}, headers=held)
    timer.join()
    assert response.json()["state"] == "running"


def _claim_unlearning() -> None:
    with db.writing() as tx:
        claim(tx, "unlearn")


@pytest.mark.parametrize("wait", ["31", "-1", "x", "nan", "inf"])
def test_waits_are_limited(http: httpx.Client, wait: str) -> None:
    path = "/v1/requests/req_" + "0" * 26
    problem(http.get(path, params={"wait": wait}), 422, "invalid-request")


def test_many_waiters_keep_nobody_else_waiting(
    service: Service, client: Lethe, live: Registered
) -> None:
    shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])

    def wait() -> None:
        with service.client() as waiter:
            waiter.get(f"/v1/requests/{shown['id']}", wait=5)

    waiters = [threading.Thread(target=wait) for _ in range(60)]
    for waiter in waiters:
        waiter.start()
    began = time.monotonic()
    for _ in range(5):
        client.create_dataset("meanwhile", id="id")
    assert time.monotonic() - began < 4
    client.cancel_request(shown["id"])
    for waiter in waiters:
        waiter.join()


def test_requests_are_found_by_their_properties(client: Lethe) -> None:
    live = live_version(client)
    one = client.submit_deletion(
        live.dataset_id, sample_ids=["s0"], regulation="ccpa", reference="case/7 & more"
    )
    two = client.submit_deletion(live.dataset_id, sample_ids=["none"], reference="other")

    def ids(**filters: str) -> list[str]:
        return [item["id"] for item in client.requests(**filters)]

    assert ids()[:2] == [two["id"], one["id"]]
    assert one["id"] in ids(regulation="ccpa", kind="deletion", state="scheduled")
    assert two["id"] not in ids(regulation="ccpa")
    assert ids(model_id=live.model_id) == [one["id"]]
    assert one["id"] in ids(due_before="2199-01-01T00:00:00Z")
    assert one["id"] not in ids(due_before="2001-01-01T00:00:00Z")
    found = [item["id"] for item in client.search_requests(reference="case/7 & more")]
    assert found == [one["id"]]


@pytest.mark.parametrize(
    "query",
    ["state=odd", "kind=x", "model_id=mdl", "due_before=x", "regulation=%00", "model_id=%00"],
)
def test_filters_are_checked(http: httpx.Client, query: str) -> None:
    problem(http.get(f"/v1/requests?{query}"), 422, "invalid-request")


def test_a_large_request_is_taken_whole(service: Service, client: Lethe) -> None:
    dataset_id = ready_dataset(client)
    ids = [f"unknown-{number}" for number in range(50_000)]
    shown = client.submit_deletion(dataset_id, sample_ids=[*ids, "s19"])
    assert shown["counts"] == {"samples": 1, "unknown": 50_000, "already_deleted": 0}
