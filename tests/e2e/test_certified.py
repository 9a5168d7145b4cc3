"""Certified removal through the service: its numbers, its budget, and training again at its end."""

import base64
import json
import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from app.client.connection import Document
from app.unlearning.certified import SummedObjective, gaussian_noise, perturbed_optimum
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from tests.e2e.controller import Controller, Registered
from tests.e2e.material import CLASSES, FEATURES, TRAINING_ROWS, Material, make_material
from tests.e2e.service import Service, eventually

DEVIATION, DECAY = 5.0, 0.5
# An owner who cannot say more than this has spent nearly all of what noise of this size hides at
# epsilon 1 and delta 1e-5: 1.34.
DECLARED = 1.3
LINEAR = {
    "builder": "sequential",
    "config": {"layers": [{"type": "linear", "in_features": FEATURES, "out_features": CLASSES}]},
}


class Trained:
    """A linear classifier trained with noise in its objective, as its owner would."""

    def __init__(self, material: Material, declared: float = DECLARED) -> None:
        self.material, self.declared = material, declared
        shape = (CLASSES, FEATURES + 1)
        self.b = gaussian_noise(shape, DEVIATION, random.Random(3).randbytes)
        optimum = perturbed_optimum(
            self.summed(list(range(TRAINING_ROWS))),
            torch.zeros(shape, dtype=torch.float64),
            tolerance=1e-10,
        )
        self.theta = optimum.theta.float().double()
        everything = self.summed(list(range(TRAINING_ROWS)))
        assert float(everything.gradient(self.theta).norm()) < declared

    def summed(self, rows: list[int]) -> SummedObjective:
        X = torch.from_numpy(self.material.features[rows])
        y = torch.from_numpy(self.material.labels[rows])
        return SummedObjective(
            Objective("cross_entropy", DECAY), TensorRows(X, y), has_bias=True, linear=self.b
        )

    def weights(self) -> bytes:
        model = nn.Sequential(nn.Linear(FEATURES, CLASSES))
        model[0].weight.data = self.theta[:, :-1].float().contiguous()
        model[0].bias.data = self.theta[:, -1].float().contiguous()
        return save(model.state_dict())

    def order(self, dataset_id: str) -> dict[str, Any]:
        return {
            "dataset_id": dataset_id,
            "training_split": "train",
            "holdout_split": "test",
            "architecture": LINEAR,
            "inputs": {"kind": "vector", "column": "features", "length": FEATURES},
            "objective": "cross_entropy",
            "weight_decay": DECAY,
            "recipe": {
                "optimizer": "lbfgs",
                "learning_rate": 1.0,
                "epochs": 100,
                "perturbation": {
                    "standard_deviation": DEVIATION,
                    "gradient_norm": self.declared,
                },
            },
        }

    def register(self, controller: Controller, folder: Path, policy: Any) -> Registered:
        dataset_id = controller.dataset_of(self.material, folder)
        model_id = controller.create_model("certified", policy)["id"]
        found = controller.version_of(model_id, self.weights(), self.order(dataset_id))
        assert found["state"] == "live", found
        return Registered(dataset_id, model_id, found["id"])


def delete(controller: Controller, ours: Registered, sample: str) -> Document:
    """Delete one sample; return the report."""
    request = controller.finished(
        controller.submit_deletion(ours.dataset_id, sample_ids=[sample])["id"]
    )
    (target,) = request["targets"]
    job = controller.job(target["job_id"])
    assert job["state"] == "succeeded", job
    report: Document = job["report"]
    assert report["method"] == job["method"]
    return report


def published(controller: Controller, ours: Registered, folder: Path) -> Tensor:
    file = folder / "published.safetensors"
    version_id = controller.live_version(ours.model_id)["id"]
    controller.download_weights(ours.model_id, version_id, file)
    tensors = load_file(file)
    return torch.cat([tensors["0.weight"], tensors["0.bias"][:, None]], 1).double()


def test_a_proof_knows_which_rows_are_still_in(
    service: Service, controller: Controller, folder: Path
) -> None:
    """A second request comes when the first one's job has begun but not read its rows.

    Its rows are suppressed by then, but the first result holds them: counted as gone, they would be
    taken for noise.
    """
    trained = Trained(make_material("meeting", seed=7), declared=1e-4)
    # Charged with what is left, not with a bound: there is no room for a mistake.
    ours = trained.register(controller, folder, {"method": "certified_update", "gates": {}})
    # The next job is then the first request's; this test comes first for the same reason.
    eventually(lambda: has_curvature(service, ours.version_id))
    service.hold("after-claim")
    first = controller.submit_deletion(ours.dataset_id, sample_ids=trained.material.ids[:1])["id"]
    eventually(service.paused_at("after-claim").exists)
    second = controller.submit_deletion(ours.dataset_id, sample_ids=trained.material.ids[1:2])["id"]
    service.release("after-claim")
    reports = []
    for request_id in (first, second):
        (target,) = controller.finished(request_id)["targets"]
        reports.append(controller.job(target["job_id"])["report"])
    assert [report["assurance"] for report in reports] == ["certified", "certified"]
    assert reports[1]["certified"]["spent_before"] == reports[0]["certified"]["spent"]
    theta = published(controller, ours, folder)
    left = float(trained.summed(list(range(2, TRAINING_ROWS))).gradient(theta).norm())
    # The training left less than declared.
    assert left <= reports[1]["certified"]["spent"] < 0.1
    # The certificate repeats the numbers, signed.
    envelope = controller.wait_for_certificate(second)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    (stated,) = statement["predicate"]["targets"]
    assert stated["run"]["assurance"] == "certified"
    guarantee = {name: float(text) for name, text in stated["run"]["guarantee"].items()}
    assert guarantee == reports[1]["guarantee"]
    assert (guarantee["epsilon"], guarantee["delta"]) == (1.0, 1e-5)
    assert guarantee["spent"] == reports[1]["certified"]["spent"]
    assert any(limit.startswith("Certified") for limit in statement["predicate"]["limits"])


def has_curvature(service: Service, version_id: str) -> bool:
    lines = service.log("worker").splitlines()
    return any("curvature.stored" in line and version_id in line for line in lines)


def test_a_budget_is_spent_by_removals_and_renewed_by_training(
    controller: Controller, folder: Path
) -> None:
    trained = Trained(make_material("certified", seed=5))
    policy = {
        "method": "certified_removal",
        "parameters": {"epsilon": 1.0, "delta": 1e-5},
        "gates": {},
    }
    ours = trained.register(controller, folder, policy)
    kept = list(range(TRAINING_ROWS))
    spent, removals = DECLARED, 0
    for row in range(20):
        report = delete(controller, ours, trained.material.ids[row])
        kept.remove(row)
        if report["method"] == "retrain":
            break
        removals += 1
        proof = report["certified"]
        assert report["assurance"] == "certified"
        assert proof["mechanism"] == "objective_perturbation"
        assert (proof["epsilon"], proof["delta"], proof["noise"]) == (1.0, 1e-5, DEVIATION)
        assert proof["spent_before"] == spent
        spent = proof["spent"]
        assert proof["left"] > 0
        assert 0.9 < proof["epsilon_reached"] <= 1.0
        # The noise is known here and nowhere else: what is left of its gradient is below the bound.
        theta = published(controller, ours, folder)
        assert float(trained.summed(kept).gradient(theta).norm()) <= spent
        lineage = report["lineage"]
        assert (lineage["requests"], lineage["rows"]) == (removals, removals)
        assert lineage["since_version_id"] == ours.version_id
        assert lineage["residual"] == spent
    assert removals >= 1
    assert report["method"] == "retrain"
    assert report["assurance"] == "exact"
    assert "guarantee" not in report
    assert "used up" in report["method_reason"]
    assert report["lineage"]["requests"] == 0
    # With fresh noise, from which nearly nothing is spent.
    renewed = report["lineage"]["residual"]
    assert renewed < 1e-3
    theta = published(controller, ours, folder)
    assert float(trained.summed(kept).gradient(theta).norm()) > 0.1 * DEVIATION
    since = controller.model(ours.model_id)["live_version_id"]

    again = delete(controller, ours, trained.material.ids[row + 1])
    assert again["assurance"] == "certified"
    assert again["certified"]["spent_before"] == renewed
    assert again["lineage"]["since_version_id"] == since


def test_a_policy_limits_how_far_a_line_goes(controller: Controller, folder: Path) -> None:
    trained = Trained(make_material("limited", seed=6))
    policy = {"method": "influence", "gates": {}, "budget": {"requests": 2, "share": 0.5}}
    ours = trained.register(controller, folder, policy)
    assert controller.model(ours.model_id)["policy"]["budget"] == {
        "requests": 2,
        "share": 0.5,
        "drift": None,
    }
    reports = [delete(controller, ours, trained.material.ids[row]) for row in range(4)]
    assert [report["method"] for report in reports] == [
        "influence",
        "influence",
        "retrain",
        "influence",
    ]
    assert [report["lineage"]["requests"] for report in reports] == [1, 2, 0, 1]
    assert "policy allows 2" in reports[2]["method_reason"]
    assert reports[0]["lineage"]["drift"] > 0
    assert reports[0]["lineage"]["limits"] == {"requests": 2, "share": 0.5, "drift": None}


def test_methods_describe_what_they_prove(controller: Controller) -> None:
    described = {item["name"]: item for item in controller.methods()}
    for name in ("certified_descent", "certified_removal", "certified_update"):
        assert described[name]["assurance"] == "certified"
        for parameter in described[name]["parameters"]["properties"].values():
            assert parameter["description"]
    assert described["certified_removal"]["kinds"] == ["deletion"]
