"""Every method and every parameter: described, asked for by a policy, run, and shown by the report.

The API runs as a server; the workers' part is played by their own code in this process.
"""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.client import ApiProblem, Lethe
from app.client.connection import Document
from app.domain import methods
from app.domain.catalog import Version
from app.domain.jobs import Job
from app.infra import db
from app.unlearning.problem import Problem
from app.unlearning.update import Update
from tests.api.conftest import Service
from tests.e2e.material import CLASSES, COLUMNS, Material, make_material, version_order
from tests.e2e.test_certified import Trained
from tests.workers import worked
from workers import pipeline
from workers.budget import Charge, unlearn

CERTIFIED = ("certified_descent", "certified_removal", "certified_update")
NAMES = tuple(methods.names())
# Values that no range or list of values suggests.
CHOSEN: dict[str, Any] = {
    # With half the limit the method may well refuse its own result.
    "refuse_above": None,
    # What constants alone bound for one row of a hundred is more than an epsilon of one hides.
    "epsilon": 20.0,
    # Newton's method to the optimum is for convex models only.
    "solver": "block",
    # The few scalars of least curvature belong to units that answer nothing, and cannot move.
    "fraction": 0.75,
    # Of a single gradient the network need not become any better.
    "gradient_budget": 400,
}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Lethe]:
    threads = torch.get_num_threads()
    with service.client() as opened:
        yield opened
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def described(client: Lethe) -> dict[str, Document]:
    return {item["name"]: item for item in client.methods()}


def import_rows(client: Lethe, material: Material, folder: Path) -> str:
    dataset_id = str(client.create_dataset("rows", **COLUMNS)["id"])
    client.upload_content(dataset_id, material.parquet(folder))
    worked.work()
    assert client.dataset(dataset_id)["state"] == "ready"
    return dataset_id


def live_model(client: Lethe, weights: bytes, order: dict[str, Any]) -> str:
    model_id = str(client.create_model("asked for everything")["id"])
    version_id = client.create_version(model_id, order)["id"]
    client.upload_weights(model_id, version_id, weights)
    worked.work()
    assert client.version(model_id, version_id)["state"] == "live"
    return model_id


class Line:
    """A model, its data set, and the next row that somebody asks for."""

    def __init__(self, dataset_id: str, model_id: str, material: Material) -> None:
        self.dataset_id, self.model_id = dataset_id, model_id
        self.rows = zip(material.ids, material.labels.tolist(), strict=True)

    def serve_one(self, client: Lethe, kinds: Set[str] = frozenset()) -> Document:
        """Correct the label of a row, or delete it where that alone is served; return the job."""
        sample, label = next(self.rows)
        if not kinds & {"label_correction"}:
            asked = client.submit_deletion(self.dataset_id, sample_ids=[sample])
        else:
            correction = {"sample_id": sample, "label": (label + 1) % CLASSES}
            asked = client.submit_correction(self.dataset_id, corrections=[correction])
        worked.work()
        (target,) = client.request(asked["id"])["targets"]
        return client.job(target["job_id"])


@pytest.fixture(scope="module")
def network(client: Lethe, tmp_path_factory: pytest.TempPathFactory) -> Line:
    material = make_material("network", seed=4)
    dataset_id = import_rows(client, material, tmp_path_factory.mktemp("network"))
    model_id = live_model(client, material.weights(), version_order(dataset_id))
    return Line(dataset_id, model_id, material)


@pytest.fixture
def perturbed(client: Lethe, tmp_path: Path) -> Line:
    """A linear model trained with noise in its objective, as proofs want it.

    A new one for each: what one proof has spent or lost is not there for the next. The rows are in
    the unit ball, where bounds by constants alone are small enough to be of use.
    """
    drawn = make_material("perturbed", seed=5)
    longest = np.linalg.norm(drawn.features, axis=1).max()
    material = Material("perturbed", drawn.features / longest, drawn.labels)
    trained = Trained(material, declared=1e-3)
    dataset_id = import_rows(client, trained.material, tmp_path)
    model_id = live_model(client, trained.weights(), trained.order(dataset_id))
    return Line(dataset_id, model_id, trained.material)


def another(name: str, schema: Document) -> Any:
    """A value that is allowed and not the default."""
    default = schema["default"]
    if name in CHOSEN and CHOSEN[name] in schema.get("enum", [CHOSEN[name]]):
        return CHOSEN[name]
    if "enum" in schema:
        return next(value for value in schema["enum"] if value not in (default, None))
    if schema.get("type") == "boolean":
        return not default
    if default is None:
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 0.5)
    if schema["type"] == "integer":
        return default + 1
    return default / 2


def others(described: dict[str, Document], name: str) -> dict[str, Any]:
    """Another value for each parameter of a method."""
    properties = described[name]["parameters"]["properties"]
    return {key: another(key, schema) for key, schema in properties.items()}


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_says_what_it_is(described: dict[str, Document], name: str) -> None:
    method = described[name]
    assert method["title"]
    assert method["reference"]
    assert set(method["kinds"]) <= {"deletion", "label_correction", "feature_correction"}
    assert method["kinds"]
    schema = method["parameters"]
    assert schema["additionalProperties"] is False
    assert "retained_rows" in schema["properties"]
    for parameter in schema["properties"].values():
        assert parameter["description"].endswith(".")
        assert "default" in parameter
        if "enum" in parameter:
            assert parameter["default"] in parameter["enum"]
            continue
        types = parameter["type"] if isinstance(parameter["type"], list) else [parameter["type"]]
        assert set(types) <= {"boolean", "integer", "number", "null"}
        assert (parameter["default"] is None) <= ("null" in types)
        # Every number has a lower end; those without an upper end have no natural one.
        assert types[0] == "boolean" or {"minimum", "exclusiveMinimum"} & parameter.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_may_ask_for_every_parameter_and_the_report_shows_them(
    client: Lethe, described: dict[str, Document], request: pytest.FixtureRequest, name: str
) -> None:
    line: Line = request.getfixturevalue("perturbed" if name in CERTIFIED else "network")
    parameters = others(described, name)
    defaults = described[name]["parameters"]["properties"]
    assert all(value != defaults[key]["default"] for key, value in parameters.items())
    client.put_policy(line.model_id, {"method": name, "parameters": parameters, "gates": {}})
    assert client.policy(line.model_id)["parameters"] == parameters

    # A label that is corrected to a wrong one leaves every method something to do.
    job = line.serve_one(client, set(described[name]["kinds"]))

    assert job["state"] == "succeeded", job["error"]
    report = job["report"]
    assert report["method_reason"]
    if name == "auto":
        assert job["method"] == report["method"] != "auto"
        assert report["parameters"].items() >= parameters.items()
    else:
        assert job["method"] == report["method"] == name
        assert report["parameters"] == parameters
    assert job["parameters"] == report["parameters"]
    assert report["assurance"] == described[report["method"]]["assurance"]
    assert client.report(line.model_id, job["result_version_id"]) == report


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_taken_out_of_its_range(
    client: Lethe, described: dict[str, Document], name: str
) -> None:
    model_id = client.create_model("strict")["id"]
    for key, schema in described[name]["parameters"]["properties"].items():
        wrong: list[Any] = ["no such value", [], {}]
        wrong += [schema["minimum"] - 1] if "minimum" in schema else []
        wrong += [schema["exclusiveMinimum"]] if "exclusiveMinimum" in schema else []
        wrong += [schema["maximum"] * 2] if "maximum" in schema else []
        for value in wrong:
            with pytest.raises(ApiProblem, match="422") as caught:
                client.put_policy(model_id, {"method": name, "parameters": {key: value}})
            (fault,) = caught.value.document["errors"]
            assert fault["pointer"] == f"/parameters/{key}"


def curvature_of(version_id: str) -> Document:
    with db.reading() as tx:
        record = tx.get_one(Version, version_id).curvature
        assert record is not None
        return dict(record)


def test_the_curvature_is_that_of_the_version_at_hand(client: Lethe, tmp_path: Path) -> None:
    """Made anew after each publication, on the rows that are left; never that of a parent."""
    material = make_material("following", seed=6)
    dataset_id = import_rows(client, material, tmp_path)
    model_id = live_model(client, material.weights(), version_order(dataset_id))
    line = Line(dataset_id, model_id, material)
    client.put_policy(model_id, {"method": "sparse_newton", "gates": {}})
    records = [curvature_of(client.model(model_id)["live_version_id"])]
    for _ in range(2):
        job = line.serve_one(client)
        assert job["report"]["diagnostics"]["estimator"] == "ggn, kept with the version"
        assert job["report"]["cost"]["parameters_changed"] > 0
        records.append(curvature_of(job["result_version_id"]))
    assert [record["rows"] for record in records] == [120, 119, 118]
    assert len({record["digest"] for record in records}) == 3
    assert len({record["key"] for record in records}) == 3


IDLE: Document = {"method": "saps", "parameters": {"fraction": 0}, "gates": {}}


def test_a_method_that_takes_no_step_publishes_nothing(client: Lethe, network: Line) -> None:
    client.put_policy(network.model_id, IDLE | {"on_gate_failure": ["attention"]})
    before = client.model(network.model_id)["live_version_id"]
    job = network.serve_one(client)
    assert (job["state"], job["error"]["code"]) == ("failed", "method-failed")
    assert job["error"]["detail"].startswith("NothingMoved")
    assert job["result_version_id"] is None
    assert client.model(network.model_id)["live_version_id"] == before
    client.put_policy(network.model_id, IDLE)
    job = network.serve_one(client)
    assert (job["state"], job["method"]) == ("succeeded", "retrain")
    assert job["report"]["cost"]["parameters_changed"] > 0


def test_nothing_follows_a_failure_of_a_job_that_is_to_be_cancelled(
    client: Lethe, network: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put_policy(network.model_id, IDLE)

    def cancelled(job: Job, problem: Problem, charge: Charge) -> Update:
        client.cancel_job(job.id)
        return unlearn(job, problem, charge)

    monkeypatch.setattr(pipeline, "unlearn", cancelled)
    job = network.serve_one(client)
    assert (job["state"], job["error"]["code"]) == ("cancelled", "cancelled")
    (request_id,) = job["request_ids"]
    request = client.request(request_id)
    assert request["state"] == "needs_attention"
    assert request["targets"][0]["job_ids"] == [job["id"]]


def test_a_label_corrected_to_what_it_is_leaves_nothing_to_do(client: Lethe, network: Line) -> None:
    client.put_policy(network.model_id, IDLE)
    sample, label = next(network.rows)
    corrections = [{"sample_id": sample, "label": label}]
    asked = client.submit_correction(network.dataset_id, corrections=corrections)
    worked.work()
    found = client.request(asked["id"])
    assert found["state"] == "fulfilled"
    report = client.job(found["targets"][0]["job_id"])["report"]
    assert report["cost"]["parameters_changed"] == 0
    assert "corrected to what they were" in report["notes"]["method"]
