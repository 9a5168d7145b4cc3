"""Requests that meet each other, and cancellations."""

from pathlib import Path
from typing import Any

import pytest

from app.client import ApiProblem
from tests.e2e.controller import Controller, require_one_entry_per_change
from tests.e2e.material import TRAINING_ROWS, make_material, version_order
from tests.e2e.service import Service, eventually

LENIENT: dict[str, Any] = {"gates": {}, "method": "sparse_newton"}


def test_second_request_while_the_first_runs(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("second", seed=11)
    ours = controller.register(material, folder, LENIENT)
    child = controller.version_of(
        ours.model_id,
        material.weights(),
        version_order(ours.dataset_id, parent_id=ours.version_id),
    )
    service.hold("mid-update")
    first = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:3])["id"]
    eventually(service.paused_at("mid-update").exists)
    second = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[2:5])["id"]
    service.release("mid-update")
    requests = [controller.finished(request) for request in (first, second)]
    assert [request["state"] for request in requests] == ["fulfilled", "fulfilled"]
    for request in requests:
        assert {target["version_id"] for target in request["targets"]} >= {ours.version_id}
        assert len(request["targets"]) == 2
    # Rows of both are gone from whatever is live, and what held them is gone altogether.
    live = [v for v in controller.versions(ours.model_id) if v["state"] in ("live", "tainted")]
    assert all(version["state"] == "live" for version in live)
    assert controller.is_withdrawn(ours.model_id, ours.version_id, folder)
    assert controller.is_withdrawn(ours.model_id, child["id"], folder)
    assert controller.revision(ours.dataset_id, 1)["erased_rows"] == 5
    require_one_entry_per_change(controller.audit_entries())


def test_same_ids_twice(controller: Controller, folder: Path) -> None:
    material = make_material("twice", seed=12)
    ours = controller.register(material, folder, LENIENT)
    first, again = (
        controller.finished(
            controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]
        )
        for _ in range(2)
    )
    assert first["counts"] == {"samples": 2, "unknown": 0, "already_deleted": 0}
    assert again["counts"] == {"samples": 0, "unknown": 0, "already_deleted": 2}
    assert again["state"] in ("nothing_found", "fulfilled")
    assert again["targets"] == []
    assert len(list(controller.versions(ours.model_id))) == 2


def test_new_rows_of_an_erased_subject(controller: Controller, folder: Path) -> None:
    material = make_material("comeback", seed=13)
    ours = controller.register(material, folder, LENIENT)
    subject = material.subjects[7]
    controller.finished(controller.submit_deletion(ours.dataset_id, subject_ids=[subject])["id"])
    refused = controller.upload(ours.dataset_id, material.parquet(folder))
    assert (refused["state"], refused["error"]["code"]) == ("invalid", "suppressed-samples")
    assert controller.dataset(ours.dataset_id)["revision"] == 1
    dropped = controller.upload(ours.dataset_id, material.parquet(folder), "drop")
    assert dropped["state"] == "ready"
    assert dropped["rows"] == len(material.ids) - len(material.rows_of(7))


def test_deletion_of_held_out_rows_only(controller: Controller, folder: Path) -> None:
    material = make_material("heldout", seed=14)
    ours = controller.register(material, folder, LENIENT)
    ids = material.ids[TRAINING_ROWS : TRAINING_ROWS + 4]
    request = controller.finished(controller.submit_deletion(ours.dataset_id, sample_ids=ids)["id"])
    assert (request["state"], request["targets"]) == ("fulfilled", [])
    assert controller.revision(ours.dataset_id, 1)["erased_rows"] == 4
    version = controller.version(ours.model_id, ours.version_id)
    assert version["state"] == "live"


def test_unknown_ids_end_as_nothing_found(controller: Controller, folder: Path) -> None:
    ours = controller.register(make_material("unknown", seed=15), folder, LENIENT)
    request = controller.submit_deletion(ours.dataset_id, sample_ids=["x", "y"])
    assert (request["state"], request["done"]) == ("nothing_found", True)
    assert request["counts"] == {"samples": 0, "unknown": 2, "already_deleted": 0}


def test_cancellation_before_the_job_starts(controller: Controller, folder: Path) -> None:
    material = make_material("cancel", seed=16)
    policy = LENIENT | {"batching": {"max_wait_seconds": 3600, "max_samples": 100}}
    ours = controller.register(material, folder, policy)
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]
    assert controller.version(ours.model_id, ours.version_id)["state"] == "tainted"
    cancelled = controller.cancel_request(request_id)
    assert (cancelled["state"], cancelled["done"]) == ("cancelled", True)
    assert cancelled["targets"][0]["state"] == "cancelled"
    assert controller.version(ours.model_id, ours.version_id)["state"] == "live"
    # Nothing is suppressed any more.
    assert controller.upload(ours.dataset_id, material.parquet(folder))["state"] == "ready"
    require_one_entry_per_change(controller.audit_entries())


def test_cancellation_after_the_job_started(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("toolate", seed=17)
    ours = controller.register(material, folder, LENIENT)
    service.hold("mid-update")
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]
    eventually(service.paused_at("mid-update").exists)
    with pytest.raises(ApiProblem) as problem:
        controller.cancel_request(request_id)
    assert (problem.value.status, problem.value.code) == (409, "job-started")
    service.release("mid-update")
    assert controller.finished(request_id)["state"] == "fulfilled"


def test_running_job_is_cancelled_and_retried(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("stop", seed=18)
    ours = controller.register(material, folder, LENIENT)
    service.hold("mid-update")
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]
    eventually(service.paused_at("mid-update").exists)
    job_id = controller.request(request_id)["targets"][0]["job_id"]
    controller.cancel_job(job_id)
    service.release("mid-update")
    request = controller.reached(request_id, "needs_attention")
    assert controller.job(job_id)["state"] == "cancelled"
    assert request["targets"][0]["state"] == "failed"
    assert controller.live_version(ours.model_id)["id"] == ours.version_id
    controller.retry_request(request_id)
    assert controller.finished(request_id)["state"] == "fulfilled"
    require_one_entry_per_change(controller.audit_entries())
