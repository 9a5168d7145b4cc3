"""A label that a network cannot have stops the request that brings it, and nobody else's."""

from pathlib import Path
from typing import Any

import pytest

from app.client import Lethe
from app.client.connection import Document
from tests.api.test_methods import import_rows, live_model
from tests.e2e.material import CLASSES, TRAINING_ROWS, Material, make_material, version_order
from tests.workers import worked

POLICY: dict[str, Any] = {"method": "sparse_newton", "gates": {}}


@pytest.fixture
def material() -> Material:
    return make_material("labels", seed=9)


@pytest.fixture
def dataset_id(client: Lethe, material: Material, tmp_path: Path) -> str:
    dataset_id = import_rows(client, material, tmp_path)
    model_id = live_model(client, material.weights(), version_order(dataset_id))
    client.put_policy(model_id, POLICY)
    return dataset_id


def corrected(client: Lethe, dataset_id: str, sample_id: str, label: int) -> Document:
    corrections = [{"sample_id": sample_id, "label": label}]
    asked = client.submit_correction(dataset_id, corrections=corrections)
    worked.work()
    return client.request(asked["id"])


def deleted(client: Lethe, dataset_id: str, sample_id: str) -> Document:
    asked = client.submit_deletion(dataset_id, sample_ids=[sample_id])
    worked.work()
    found = client.request(asked["id"])
    assert found["state"] == "fulfilled"
    return client.job(found["targets"][0]["job_id"])


def test_a_class_the_network_lacks_waits_for_a_person_and_holds_up_nobody(
    client: Lethe, dataset_id: str, material: Material
) -> None:
    asked = corrected(client, dataset_id, material.ids[0], CLASSES)
    assert asked["state"] == "needs_attention"
    error = client.job(asked["targets"][0]["job_id"])["error"]
    assert error["code"] == "unusable-labels"
    assert "no output for the class" in error["detail"]
    job = deleted(client, dataset_id, material.ids[1])
    assert job["report"]["rows"]["retained_total"] == TRAINING_ROWS - 2
    assert "1 training rows are left out" in job["report"]["notes"]["rows"]
    # Corrected once more, the first request can be served too.
    label = (int(material.labels[0]) + 1) % CLASSES
    assert corrected(client, dataset_id, material.ids[0], label)["state"] == "fulfilled"
    client.retry_request(asked["id"])
    worked.work()
    assert client.request(asked["id"])["state"] == "fulfilled"
    assert "notes" not in deleted(client, dataset_id, material.ids[2])["report"]


def test_a_held_out_row_of_a_new_class_is_not_measured(
    client: Lethe, dataset_id: str, material: Material
) -> None:
    before = deleted(client, dataset_id, material.ids[3])["report"]
    assert corrected(client, dataset_id, material.ids[TRAINING_ROWS], 7)["state"] == "fulfilled"
    after = deleted(client, dataset_id, material.ids[4])["report"]
    samples = [
        next(m["samples"] for m in report["measurements"] if m["name"] == "holdout_accuracy")
        for report in (before, after)
    ]
    assert samples[0] - samples[1] == 1
