"""Orders that cannot be accepted: each with its code and pointer, and not one row or file more."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.steps import wait_for_curvature
from app.client import ApiProblem, Lethe
from tests.e2e.controller import Controller, Registered
from tests.e2e.material import ARCHITECTURE, FEATURES, INPUTS, RECIPE, make_material, version_order
from tests.e2e.service import KEY, Service
from tests.e2e.traces import Traces

MATERIAL = make_material("requests", seed=33)
SAMPLE = MATERIAL.ids[0]
JSON_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class World:
    """What there is before anybody sends nonsense."""

    ours: Registered
    http: httpx.Client
    traces: Traces

    def refuse(
        self, method: str, path: str, body: Any, status: int, code: str, pointer: str | None = None
    ) -> None:
        """Send a body, raw or as JSON; expect a problem and nothing else."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        before = self.traces.now()
        answer = self.http.request(method, path, content=content, headers=JSON_HEADERS)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code), problem
        assert answer.headers["content-type"] == "application/problem+json"
        if pointer is not None:
            assert pointer in [error["pointer"] for error in problem["errors"]], problem
        assert MATERIAL.mark not in answer.text.replace(self.ours.dataset_id, "")
        self.traces.require_only(before)


@pytest.fixture(scope="module")
def world(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        Controller(service) as controller,
        httpx.Client(base_url=service.url, headers=headers, timeout=60) as http,
    ):
        ours = controller.register(MATERIAL, tmp_path_factory.mktemp("material"), {"gates": {}})
        wait_for_curvature(controller, ours.version_id)
        traces = Traces(service)
        yield World(ours, http, traces)
        traces.close()


Case = tuple[dict[str, Any], str, str | None]
DELETIONS: dict[str, Case] = {
    "nothing named": ({}, "empty-request", ""),
    "empty lists": ({"sample_ids": [], "subject_ids": [], "labels": []}, "empty-request", ""),
    "regulation": (
        {"sample_ids": ["a"], "regulation": "hipaa"},
        "unknown-regulation",
        "/regulation",
    ),
    "label in words": ({"labels": ["two"]}, "wrong-type", "/labels/0"),
    "label in halves": ({"labels": [0, 1.5]}, "wrong-type", "/labels/1"),
    "label in truth": ({"labels": [True]}, "wrong-type", "/labels/0"),
    "label too large": ({"labels": [2**63 - 1, "x" * 2000]}, "invalid-request", "/labels/1"),
    "number for an id": ({"sample_ids": [7]}, "invalid-request", "/sample_ids/0"),
    "id of 10,000 letters": ({"sample_ids": ["x" * 10_000]}, "invalid-request", "/sample_ids/0"),
    "empty id": ({"sample_ids": [""]}, "invalid-request", "/sample_ids/0"),
    "text for a list": ({"sample_ids": "abc"}, "invalid-request", "/sample_ids"),
    "null for a list": ({"sample_ids": None}, "invalid-request", "/sample_ids"),
    "unknown field": ({"sample_ids": ["a"], "force": True}, "invalid-request", "/force"),
    "no such day": (
        {"sample_ids": ["a"], "submitted_at": "2026-02-30T00:00:00Z"},
        "invalid-request",
        "/submitted_at",
    ),
    "year 1": (
        {"sample_ids": ["a"], "submitted_at": "0001-01-01T00:00:00Z"},
        "out-of-range",
        "/submitted_at",
    ),
}


@pytest.mark.parametrize("end", ["", "/preview"])
@pytest.mark.parametrize("case", DELETIONS)
def test_deletions(world: World, case: str, end: str) -> None:
    body, code, pointer = DELETIONS[case]
    order = {"dataset_id": world.ours.dataset_id} | body
    world.refuse("POST", f"/v1/deletion-requests{end}", order, 422, code, pointer)


def features(**cells: Any) -> dict[str, Any]:
    return {"corrections": [{"sample_id": SAMPLE, "features": cells}]}


CORRECTIONS: dict[str, Case] = {
    "nothing": ({}, "empty-request", ""),
    "no new value": (
        {"corrections": [{"sample_id": SAMPLE}]},
        "empty-correction",
        "/corrections/0",
    ),
    "unknown column": (features(age=3), "unknown-column", "/corrections/0/features/age"),
    "column of ids": (features(sample_id="b"), "role-column", "/corrections/0/features/sample_id"),
    "text for a list": (features(features="b"), "wrong-type", "/corrections/0/features/features"),
    "list too short": (features(features=[1.0]), "wrong-type", "/corrections/0/features/features"),
    "beyond float32": (
        features(features=[1e300] * FEATURES),
        "wrong-type",
        "/corrections/0/features/features",
    ),
    "lists in lists": (
        features(features=[[1.0]] * FEATURES),
        "invalid-request",
        "/corrections/0/features/features",
    ),
    "label in words": (
        {"corrections": [{"sample_id": SAMPLE, "label": "two"}]},
        "wrong-type",
        "/corrections/0/label",
    ),
    "label in halves": (
        {"corrections": [{"sample_id": SAMPLE, "label": 0.5}]},
        "wrong-type",
        "/corrections/0/label",
    ),
    "removal of an unknown column": (
        {"feature_removal": {"columns": ["features", "sex"]}},
        "unknown-column",
        "/feature_removal/columns/1",
    ),
    "removal of ids": (
        {"feature_removal": {"columns": ["sample_id"]}},
        "role-column",
        "/feature_removal/columns/0",
    ),
    "removal from nobody": (
        {"feature_removal": {"columns": ["features"], "sample_ids": []}},
        "empty-request",
        "/feature_removal/sample_ids",
    ),
    "removal of nothing": (
        {"feature_removal": {"columns": []}},
        "invalid-request",
        "/feature_removal/columns",
    ),
    "removal with a wrong value": (
        {"feature_removal": {"columns": ["features"], "value": "gone"}},
        "wrong-type",
        "/feature_removal/value",
    ),
}


@pytest.mark.parametrize("end", ["", "/preview"])
@pytest.mark.parametrize("case", CORRECTIONS)
def test_corrections(world: World, case: str, end: str) -> None:
    body, code, pointer = CORRECTIONS[case]
    order = {"dataset_id": world.ours.dataset_id} | body
    world.refuse("POST", f"/v1/corrections{end}", order, 422, code, pointer)


@pytest.mark.parametrize(
    "cell", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b'"a\\u0000"', b'"\\ud800"']
)
def test_values_that_are_no_json(world: World, cell: bytes) -> None:
    order = b'{"dataset_id": "%b", "corrections": [{"sample_id": "a", "features": {"x": %b}}]}'
    body = order % (world.ours.dataset_id.encode(), cell)
    world.refuse("POST", "/v1/corrections", body, 400, "malformed-json")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 99 + b"1" + b"}" * 99, b'{"name": "\\u0000"}'],
    ids=["nothing", "cut", "not UTF-8", "brackets", "braces", "NUL"],
)
def test_bodies_that_are_no_json(world: World, body: bytes) -> None:
    world.refuse("POST", "/v1/datasets", body, 400, "malformed-json")


def test_a_body_beyond_the_limit(world: World) -> None:
    body = b'{"name": "' + b"x" * (33 << 20) + b'"}'
    world.refuse("POST", "/v1/datasets", body, 413, "too-large")


def linear(incoming: int, outgoing: int) -> dict[str, Any]:
    return {"type": "linear", "in_features": incoming, "out_features": outgoing}


def architecture(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"architecture": {"builder": "sequential", "config": {"layers": list(layers)}}}


def nested(depth: int) -> dict[str, Any]:
    block: dict[str, Any] = linear(FEATURES, FEATURES)
    for _ in range(depth):
        block = {"type": "residual", "layers": [block]}
    return block


IMAGE = {"kind": "image", "column": "features", "shape": [1, 3, 3]}  # eight are nine
VERSIONS: dict[str, Case] = {
    "training split": ({"training_split": "none"}, "unknown-split", "/training_split"),
    "held-out split": ({"holdout_split": "none"}, "unknown-split", "/holdout_split"),
    "held out is trained on": ({"holdout_split": "train"}, "not-held-out", "/holdout_split"),
    "weight decay": ({"weight_decay": -0.1}, "invalid-request", "/weight_decay"),
    "objective": ({"objective": "hinge"}, "invalid-request", "/objective"),
    "revision": ({"dataset_revision": 9}, "unknown-revision", "/dataset_revision"),
    "parent": ({"parent_id": "mv_" + "0" * 26}, "unknown-version", "/parent_id"),
    "recipe's optimizer": (
        {"recipe": RECIPE | {"optimizer": "magic"}},
        "invalid-request",
        "/recipe/optimizer",
    ),
    "recipe's rate": (
        {"recipe": RECIPE | {"learning_rate": 0}},
        "invalid-request",
        "/recipe/learning_rate",
    ),
    "recipe's epochs": (
        {"recipe": RECIPE | {"epochs": 2**31 - 1}},
        "out-of-range",
        "/recipe/epochs",
    ),
    "recipe's words": ({"recipe": RECIPE | {"mood": 1}}, "invalid-request", "/recipe/mood"),
    "shape of images": ({"inputs": IMAGE}, "invalid-inputs", "/inputs/column"),
    "column of inputs": (
        {"inputs": INPUTS | {"column": "none"}},
        "invalid-inputs",
        "/inputs/column",
    ),
    "kind of inputs": ({"inputs": {"kind": "smell"}}, "invalid-inputs", "/inputs/kind"),
    "label as input": (
        {"inputs": {"kind": "vector", "column": "label", "length": 1}},
        "invalid-inputs",
        "/inputs/column",
    ),
    "builder": (
        {"architecture": {"builder": "os.system", "config": {}}},
        "invalid-architecture",
        None,
    ),
    "layer": (architecture({"type": "lambda"}), "invalid-architecture", None),
    "no layers": (architecture(), "invalid-architecture", None),
    "argument": (
        architecture(linear(FEATURES, 3) | {"device": "meta"}),
        "invalid-architecture",
        None,
    ),
    "a billion outputs": (architecture(linear(FEATURES, 10**9)), "invalid-architecture", None),
    "10 to the 14 weights": (architecture(linear(10**7, 10**7)), "invalid-architecture", None),
    "many small bombs": (
        architecture(*[linear(16_384, 16_384)] * 900),
        "invalid-architecture",
        None,
    ),
    "100,000 layers": (architecture(*[{"type": "relu"}] * 100_000), "invalid-architecture", None),
    "deep blocks": (architecture(nested(20)), "invalid-architecture", None),
    "more fields": ({"architecture": ARCHITECTURE | {"code": "x"}}, "invalid-architecture", None),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_versions(world: World, case: str) -> None:
    body, code, pointer = VERSIONS[case]
    order = version_order(world.ours.dataset_id, **body)
    path = f"/v1/models/{world.ours.model_id}/versions"
    world.refuse("POST", path, order, 422, code, pointer)


POLICIES = {
    "method": ({"method": "magic"}, "/method"),
    "parameter": ({"method": "saps", "parameters": {"fraction": 7}}, "/parameters/fraction"),
    "unknown parameter": ({"method": "saps", "parameters": {"x": 1}}, "/parameters/x"),
    "gate": ({"gates": {"happiness": 1}}, "/gates/happiness"),
    "control": ({"verification": {"controls": ["prayer"]}}, "/verification/controls/0"),
    "wait": ({"batching": {"max_wait_seconds": -1}}, "/batching/max_wait_seconds"),
    "end": ({"on_gate_failure": ["publish"]}, "/on_gate_failure/0"),
    "withdrawal": ({"withdraw_after_seconds": 1e300}, "/withdraw_after_seconds"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_policies(world: World, case: str) -> None:
    policy, pointer = POLICIES[case]
    path = f"/v1/models/{world.ours.model_id}/policy"
    # What a policy may look like is checked before what it may say.
    code = "invalid-request" if case in ("wait", "end", "withdrawal") else "invalid-policy"
    world.refuse("PUT", path, policy, 422, code, pointer)
    body = {"name": "m", "policy": policy}
    world.refuse("POST", "/v1/models", body, 422, code, f"/policy{pointer}")


def test_a_version_cannot_be_given_another_parent(world: World) -> None:
    path = f"/v1/models/{world.ours.model_id}/versions/{world.ours.version_id}"
    for method in ("PUT", "PATCH", "POST"):
        body = {"parent_id": world.ours.version_id}
        world.refuse(method, path, body, 405, "method-not-allowed")


def test_another_tenant_sees_and_reaches_nothing(
    service: Service, controller: Controller, world: World, folder: Path
) -> None:
    tenant = controller.post("/v1/tenants", {"name": "other"})["id"]
    order = {"name": "k", "scopes": ["admin"], "tenant_id": tenant}
    key = controller.post("/v1/api-keys", order)["key"]
    with Lethe(service.url, key) as other:
        dataset_id = other.create_dataset("theirs", id="sample_id", split="split", label="label")[
            "id"
        ]
        other.upload_content(dataset_id, MATERIAL.parquet(folder))
        assert other.wait_for_dataset(dataset_id, 60)["state"] == "ready"
        model_id = other.create_model("theirs")["id"]
        before = world.traces.now()
        theirs = version_order(dataset_id, parent_id=world.ours.version_id)
        with pytest.raises(ApiProblem) as problem:
            other.create_version(model_id, theirs)
        assert problem.value.code == "unknown-version"
        for attempt in (
            lambda: other.create_version(model_id, version_order(world.ours.dataset_id)),
            lambda: other.submit_deletion(world.ours.dataset_id, sample_ids=[SAMPLE]),
            lambda: other.upload_content(world.ours.dataset_id, b"PAR1"),
            lambda: other.upload_weights(world.ours.model_id, world.ours.version_id, b"x"),
        ):
            with pytest.raises(ApiProblem) as problem:
                attempt()
            assert (problem.value.status, problem.value.code) == (404, "not-found")
        world.traces.require_only(before)
        assert list(other.audit_entries(version_id=world.ours.version_id)) == []


def test_stale_tags(controller: Controller, world: World) -> None:
    dataset, model = world.ours.dataset_id, world.ours.model_id
    stale = controller.model(model)["etag"]
    controller.put_policy(model, {"gates": {}, "method": "saps"}, if_match=stale)
    before = world.traces.now()
    content = f"/v1/datasets/{dataset}/content"
    for attempt in (
        lambda: controller.put_policy(model, {}, if_match=stale),
        lambda: controller.delete_model(model, if_match=stale),
        lambda: controller.delete_dataset(dataset, if_match='"x.1"'),
        lambda: controller.withdraw_version(model, world.ours.version_id, if_match='"x.1"'),
    ):
        with pytest.raises(ApiProblem) as problem:
            attempt()
        assert (problem.value.status, problem.value.code) == (412, "stale-etag")
    answer = world.http.put(content, content=b"PAR1" * 99, headers={"If-Match": '"x.1"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "stale-etag")
    world.traces.require_only(before)


def test_a_key_is_for_one_body(controller: Controller, world: World) -> None:
    first = controller.create_model("one", idempotency_key="same")
    before = world.traces.now()
    with pytest.raises(ApiProblem) as problem:
        controller.create_model("two", idempotency_key="same")
    assert (problem.value.status, problem.value.code) == (422, "idempotency-key-reused")
    assert controller.create_model("one", idempotency_key="same")["id"] == first["id"]
    world.traces.require_only(before)


def test_a_hundred_thousand_strangers(controller: Controller, world: World) -> None:
    strangers = [f"nobody-{number}" for number in range(100_000)]
    request = controller.submit_deletion(
        world.ours.dataset_id, sample_ids=[*strangers, *strangers[:10], "tab\t", "e\u0301"]
    )
    assert request["state"] == "nothing_found"
    assert request["counts"] == {"samples": 0, "unknown": 100_002, "already_deleted": 0}
    version = controller.version(world.ours.model_id, world.ours.version_id)
    assert version["state"] == "live"


def test_one_sample_named_in_every_way(controller: Controller, world: World) -> None:
    preview = controller.post(
        "/v1/corrections/preview",
        {
            "dataset_id": world.ours.dataset_id,
            "corrections": [
                {"sample_id": SAMPLE, "label": 0},
                {"sample_id": SAMPLE, "label": 1, "features": {"features": [0.0] * FEATURES}},
            ],
            "feature_removal": {"columns": ["features", "features"], "sample_ids": [SAMPLE]},
        },
    )
    assert preview["counts"] == {"samples": 1, "unknown": 0, "already_deleted": 0}
    assert [target["rows"] for target in preview["targets"]] == [1]


def test_a_deleted_dataset_takes_no_request(
    controller: Controller, world: World, folder: Path
) -> None:
    dataset_id = controller.dataset_of(MATERIAL, folder)
    controller.delete_dataset(dataset_id)
    order = {"dataset_id": dataset_id, "sample_ids": [SAMPLE]}
    for path in ("/v1/deletion-requests", "/v1/deletion-requests/preview"):
        answer = world.http.post(path, json=order)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert controller.get("/healthz") is not None
