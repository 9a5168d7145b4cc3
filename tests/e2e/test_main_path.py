"""The main path over real HTTP: register, ask, wait, download, read the audit trail."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from app.client import ApiProblem
from app.client.connection import Document
from tests.e2e.controller import Controller, require_one_entry_per_change
from tests.e2e.material import CLASSES, FEATURES, Material, make_material
from tests.e2e.service import Service

EPOCHS = {"method": "fine_tune", "parameters": {"epochs": 50}}
LENIENT: dict[str, Any] = {"gates": {}}


def measured(report: Document, name: str) -> Document:
    return next(m for m in report["measurements"] if m["name"] == name)


def moves_of(entries: list[Document], kind: str, id: str) -> list[str]:
    return [e["to"] for e in entries if e["entity"] == {"kind": kind, "id": id}]


def test_deletion_by_ids(controller: Controller, folder: Path) -> None:
    material = make_material("deletion", seed=1)
    ours = controller.register(material, folder, LENIENT)
    before = controller.version(ours.model_id, ours.version_id)
    assert before["parameters"] == FEATURES * 16 + 16 + 16 * CLASSES + CLASSES
    assert set(before["baseline"]) == {"training", "holdout"}
    assert before["baseline"]["training"]["accuracy"] > 0.8

    request_id = controller.submit_deletion(
        ours.dataset_id, sample_ids=[*material.ids[:6], "nobody"], regulation="gdpr"
    )["id"]
    request = controller.finished(request_id)

    assert request["state"] == "fulfilled"
    assert request["counts"] == {"samples": 6, "unknown": 1, "already_deleted": 0}
    (target,) = request["targets"]
    assert (target["state"], target["version_id"]) == ("fulfilled", ours.version_id)
    new = controller.live_version(ours.model_id)
    assert new["id"] == target["result_version_id"]
    assert (new["state"], new["parent_id"]) == ("live", ours.version_id)
    assert controller.is_withdrawn(ours.model_id, ours.version_id, folder)

    job = controller.job(target["job_id"])
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    assert job["progress"] == {"phase": "publishing", "fraction": 1.0}
    report = job["report"]
    assert report == controller.report(ours.model_id, new["id"])
    assert measured(report, "forget_accuracy")["samples"] == 6
    assert measured(report, "membership_auc")["interval"][0] <= 1.0
    cost = report["cost"]
    assert cost["seconds"] >= sum(cost["phases"].values()) * 0.99
    assert cost["phases"].keys() == {"loading", "curvature", "updating", "verifying", "storing"}
    # All 114 retained rows are fewer than the default sample; 90 are held out.
    assert cost["rows_read"] == 6 + 114 + 90
    assert 0 < cost["parameters_changed"] <= cost["parameters_selected"]
    assert report["method_reason"]

    downloaded = folder / "new.safetensors"
    digest = controller.download_weights(ours.model_id, new["id"], downloaded)
    assert (
        digest == new["digest"] == f"sha256:{hashlib.sha256(downloaded.read_bytes()).hexdigest()}"
    )
    (download,) = controller.downloads(ours.model_id, new["id"])
    assert download["digest"] == digest
    uploaded = folder / "old.safetensors"
    uploaded.write_bytes(material.weights())
    old_tensors, new_tensors = load_file(uploaded), load_file(downloaded)
    assert old_tensors.keys() == new_tensors.keys()
    changed = sum(int((old_tensors[n] != new_tensors[n]).sum()) for n in old_tensors)
    assert changed == cost["parameters_changed"]

    entries = list(controller.audit_entries())
    require_one_entry_per_change(entries)
    assert moves_of(entries, "version", new["id"]) == ["candidate", "live"]
    assert moves_of(entries, "version", ours.version_id)[-3:] == [
        "tainted",
        "superseded",
        "withdrawn",
    ]
    assert moves_of(entries, "request", request_id)[-2:] == ["withdrawing", "fulfilled"]
    assert [e["id"] for e in controller.events(request_id)]
    assert "deletion-sample" not in str(entries)


def test_deletion_by_subject_and_by_label(controller: Controller, folder: Path) -> None:
    material = make_material("groups", seed=2)
    ours = controller.register(material, folder, LENIENT)
    subject, label = material.subjects[0], 2
    request = controller.finished(
        controller.submit_deletion(ours.dataset_id, subject_ids=[subject], labels=[label])["id"]
    )
    gone = {*material.rows_of(0), *np.flatnonzero(material.labels == label).tolist()}
    assert request["counts"]["samples"] == len(gone)
    revision = controller.revision(ours.dataset_id, 1)
    assert revision["erased_rows"] == len(gone)


def test_label_correction(controller: Controller, folder: Path) -> None:
    material = make_material("labels", seed=3)
    wrong = material.labels.copy()
    wrong[:15] = (wrong[:15] + 1) % CLASSES
    flipped = Material("labels", material.features, wrong)
    ours = controller.register(
        flipped,
        folder,
        LENIENT
        | {
            "verification": {
                "reference": "retrain",
                "controls": ["fine_tune", "random_mask", "last_layer"],
            }
        },
    )
    request = controller.finished(
        controller.submit_correction(
            ours.dataset_id,
            corrections=[
                {"sample_id": flipped.ids[row], "label": int(material.labels[row])}
                for row in range(15)
            ],
        )["id"]
    )
    report = controller.job(request["targets"][0]["job_id"])["report"]
    corrected = measured(report, "corrected_accuracy")
    assert corrected["samples"] == 15
    assert corrected["after"] > corrected["before"]
    assert corrected["reference"] is not None
    assert [control["name"] for control in report["controls"]] == [
        "fine_tune",
        "random_mask",
        "last_layer",
    ]
    assert all(control["seconds"] > 0 for control in report["controls"])

    # The wrong labels are not welcome any more; the right ones are.
    refused = controller.upload(ours.dataset_id, flipped.parquet(folder))
    assert (refused["state"], refused["error"]["code"]) == ("invalid", "suppressed-samples")
    accepted = controller.upload(
        ours.dataset_id, Material("labels", material.features, material.labels).parquet(folder)
    )
    assert accepted["state"] == "ready"
    taken = controller.upload(ours.dataset_id, flipped.parquet(folder), "drop")
    assert taken["state"] == "ready"


def test_feature_correction(controller: Controller, folder: Path) -> None:
    material = make_material("features", seed=4)
    ours = controller.register(material, folder, LENIENT | EPOCHS)
    request = controller.finished(
        controller.submit_correction(
            ours.dataset_id,
            corrections=[
                {"sample_id": material.ids[row], "features": {"features": [0.5] * FEATURES}}
                for row in (0, 1, 150)
            ],
        )["id"]
    )
    assert request["counts"]["samples"] == 3
    job = controller.job(request["targets"][0]["job_id"])
    assert (job["method"], job["parameters"]["epochs"]) == ("fine_tune", 50)
    assert job["report"]["rows"] == {
        "forgotten": 2,
        "replaced": 2,
        "retained_at_hand": 118,
        "retained_total": 118,
    }
    assert controller.revision(ours.dataset_id, 1)["erased_rows"] == 0


def test_removal_of_a_feature_from_every_row(controller: Controller, folder: Path) -> None:
    generator = np.random.default_rng(5)
    count = 160
    sex = generator.integers(0, 2, count)
    age = generator.normal(40, 10, count)
    label = ((age - 40) / 10 + sex + generator.normal(0, 0.5, count) > 0.5).astype(int)
    path = folder / "people.parquet"
    pq.write_table(
        pa.table({
            "id": [f"person-{row}" for row in range(count)],
            "split": ["train" if row < 120 else "test" for row in range(count)],
            "label": label,
            "age": age,
            "sex": [("f", "m")[value] for value in sex],
        }),
        path,
    )
    dataset_id = controller.create_dataset("people", id="id", split="split", label="label")["id"]
    assert controller.upload(dataset_id, path)["state"] == "ready"
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    inputs = torch.tensor(
        np.stack([(age - 40) / 10, sex == 0, sex == 1], 1)[:120], dtype=torch.float32
    )
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(inputs)[:, 0], torch.tensor(label[:120], dtype=torch.float32)
        )
        loss = loss + 5e-4 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    from safetensors.torch import save

    weights = save({f"0.{name}": tensor for name, tensor in model.state_dict().items()})
    model_id = controller.create_model("regression", LENIENT)["id"]
    order = {
        "dataset_id": dataset_id,
        "training_split": "train",
        "holdout_split": "test",
        "architecture": {
            "builder": "sequential",
            "config": {"layers": [{"type": "linear", "in_features": 3, "out_features": 1}]},
        },
        "inputs": {
            "kind": "table",
            "columns": [
                {"name": "age", "encode": "standard", "mean": 40, "std": 10},
                {"name": "sex", "encode": "one_hot", "categories": ["f", "m"]},
            ],
        },
        "objective": "binary_cross_entropy",
        "weight_decay": 1e-3,
    }
    assert controller.version_of(model_id, weights, order)["state"] == "live"
    request = controller.finished(
        controller.submit_correction(
            dataset_id, feature_removal={"columns": ["sex"], "sample_ids": None, "value": None}
        )["id"]
    )
    new = controller.live_version(model_id)
    downloaded = folder / "regression.safetensors"
    controller.download_weights(model_id, new["id"], downloaded)
    # At the optimum without the column its weights are exactly zero: only the decay acts on them.
    weight = load_file(downloaded)["0.weight"][0]
    assert weight[1:].abs().max() < 1e-4 < weight[0].abs()
    assert request["state"] == "fulfilled"
    assert controller.upload(dataset_id, path)["error"]["code"] == "suppressed-samples"


def test_weights_that_do_not_fit_are_invalid_and_name_the_tensor(
    controller: Controller, folder: Path
) -> None:
    from safetensors.torch import save

    from tests.e2e.material import version_order

    material = make_material("invalid", seed=6)
    dataset_id = controller.dataset_of(material, folder)
    model_id = controller.create_model("m")["id"]
    tensors = {
        "0.weight": torch.zeros(16, FEATURES),
        "0.bias": torch.zeros(16),
        "2.weight": torch.zeros(CLASSES, 15),
        "2.bias": torch.zeros(CLASSES),
    }
    wrong = controller.version_of(model_id, save(tensors), version_order(dataset_id))
    assert (wrong["state"], wrong["error"]["code"]) == ("invalid", "weights-mismatch")
    assert "2.weight" in str(wrong["error"])
    tensors["2.weight"] = torch.full((CLASSES, 16), torch.nan)
    nan = controller.version_of(model_id, save(tensors), version_order(dataset_id))
    assert (nan["state"], nan["error"]["code"]) == ("invalid", "weights-not-finite")
    assert "2.weight" in str(nan["error"])


def test_failed_gate_publishes_nothing_and_retraining_takes_over(
    controller: Controller, folder: Path
) -> None:
    material = make_material("gates", seed=7)
    policy = {"method": "sparse_newton", "gates": {"corrected_accuracy": 0.5}}
    ours = controller.register(material, folder, policy)
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:3])["id"]
    # A deletion has no corrected rows: the gate cannot be measured, whoever computes.
    request = controller.reached(request_id, "needs_attention")
    (target,) = request["targets"]
    jobs = [controller.job(job) for job in target["job_ids"]]
    assert [job["method"] for job in jobs] == ["sparse_newton", "retrain"]
    assert [job["state"] for job in jobs] == ["failed", "failed"]
    assert jobs[0]["error"]["code"] == "gates-failed"
    assert jobs[0]["report"]["verdict"] == "failed"
    assert controller.live_version(ours.model_id)["id"] == ours.version_id
    assert controller.live_version(ours.model_id)["state"] == "tainted"
    # With a gate that can be measured, a retry by a person goes through.
    controller.put_policy(ours.model_id, LENIENT)
    controller.retry_request(request_id)
    assert controller.finished(request_id)["state"] == "fulfilled"
    require_one_entry_per_change(controller.audit_entries())


def test_retraining_is_exact_and_says_so(controller: Controller, folder: Path) -> None:
    material = make_material("retrain", seed=8)
    ours = controller.register(material, folder, LENIENT | {"method": "retrain"})
    request = controller.finished(
        controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:3])["id"]
    )
    report = controller.job(request["targets"][0]["job_id"])["report"]
    assert (report["assurance"], report["method"]) == ("exact", "retrain")


def test_nothing_personal_in_logs(service: Service, controller: Controller) -> None:
    for name in ("api", "worker", "sweeper"):
        text = service.log(name)
        assert "-sample-" not in text
        assert "-subject-" not in text


def test_problem_for_unknown_things(controller: Controller) -> None:
    with pytest.raises(ApiProblem) as problem:
        controller.request("req_unknown")
    assert problem.value.status == 404
