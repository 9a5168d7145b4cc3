"""Models, versions and their weights."""

import hashlib
import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import httpx
import pytest

from app.client import ApiProblem, Lethe
from app.client.transfers import repr_digest
from tests.api.conftest import Service
from tests.api.registered import VERSION, Registered, live_version, ready_dataset, safetensors
from tests.api.test_conventions import problem
from tests.api.test_datasets import stored

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="module")
def live(service: Service) -> Registered:
    with service.client() as client:
        return live_version(client)


def awaiting(client: Lethe) -> tuple[str, str]:
    """Register a version without weights; return its path and its model's id."""
    model_id = client.create_model("m")["id"]
    version = client.create_version(model_id, {**VERSION, "dataset_id": ready_dataset(client)})
    assert version["state"] == "awaiting_weights"
    return f"/v1/models/{model_id}/versions/{version['id']}", model_id


def test_a_policy_has_its_defaults(client: Lethe) -> None:
    model = client.create_model("defaults")
    policy = client.policy(model["id"])
    assert policy["method"] == "auto"
    assert policy["gates"] == {"holdout_accuracy_drop": 0.02}
    assert policy["on_gate_failure"] == ["retrain", "attention"]
    assert policy["batching"] == {"max_wait_seconds": 0, "max_samples": 100000}
    changed = client.put_policy(
        model["id"], {"withdraw_after_seconds": 60}, if_match=policy["etag"]
    )
    assert (changed["withdraw_after_seconds"], changed["method"]) == (60, "auto")
    with pytest.raises(ApiProblem, match="412 stale-etag"):
        client.put_policy(model["id"], {}, if_match=policy["etag"])
    assert client.put_policy(model["id"], changed)["withdraw_after_seconds"] == 60


@pytest.mark.parametrize(
    ("policy", "pointer"),
    [
        ({"method": "magic"}, "/method"),
        ({"method": "fine_tune", "parameters": {"no_such": 1}}, "/parameters"),
        ({"gates": {"no_such": 1.0}}, "/gates"),
        ({"verification": {"reference": "guess"}}, "/verification/reference"),
        ({"batching": {"max_samples": 0}}, "/batching/max_samples"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_a_bad_policy_is_pointed_to(
    client: Lethe, http: httpx.Client, policy: dict, pointer: str
) -> None:
    model_id = client.create_model("bad")["id"]
    response = http.put(f"/v1/models/{model_id}/policy", json=policy)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith(pointer)
    created = http.post("/v1/models", json={"name": "x", "policy": policy})
    assert created.status_code == 422
    assert created.json()["errors"][0]["pointer"].startswith(f"/policy{pointer}")


def test_methods_describe_their_parameters(client: Lethe) -> None:
    items = {item["name"]: item for item in client.methods()}
    assert {"saps", "sparse_newton", "influence", "fine_tune", "retrain"} <= set(items)
    for item in items.values():
        assert item["parameters"]["type"] == "object"
        assert item["assurance"] in {"exact", "certified", "empirical"}


def test_a_version_goes_live(client: Lethe, live: Registered) -> None:
    version = client.version(live.model_id, live.version_id)
    assert version["state"] == "live"
    assert version["digest"] == f"sha256:{hashlib.sha256(live.weights).hexdigest()}"
    assert version["parameters"] == 6
    assert version["baseline"]["training"] == {"loss": 0.5, "accuracy": 0.9}
    assert client.model(live.model_id)["live_version_id"] == live.version_id
    assert [item["id"] for item in client.versions(live.model_id)] == [live.version_id]
    with pytest.raises(ApiProblem, match="404 no-report"):
        client.report(live.model_id, live.version_id)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"training_split": "nowhere"}, "/training_split"),
        ({"inputs": {"kind": "vector", "column": "nothing", "length": 2}}, "/inputs/column"),
        ({"architecture": {"builder": "sequential", "config": {"layers": [{"type": "eval"}]}}},
         "/architecture/config/layers/0"),
        ({"objective": "guess"}, "/objective"),
        ({"recipe": {"optimizer": "sgd"}}, "/recipe"),
        ({"weight_decay": -1.0}, "/weight_decay"),
        ({"dataset_revision": 7}, "/dataset_revision"),
    ],
)  # fmt: skip
def test_a_bad_version_is_pointed_to(
    client: Lethe, http: httpx.Client, live: Registered, change: dict, pointer: str
) -> None:
    body = {**VERSION, "dataset_id": live.dataset_id, **change}
    response = http.post(f"/v1/models/{live.model_id}/versions", json=body)
    assert response.status_code == 422
    assert any(e["pointer"].startswith(pointer) for e in response.json()["errors"])


def zipped() -> bytes:
    """Return an archive, such as torch.save writes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body", [pickle.dumps({"a": 1}), zipped(), b"\x1f\x8b" + b"0" * 50, b"", b"PAR1" + b"0" * 60]
)
def test_other_formats_are_refused_by_their_bytes(
    service: Service, client: Lethe, http: httpx.Client, body: bytes
) -> None:
    path, _ = awaiting(client)
    before = stored(service)
    problem(http.put(f"{path}/weights", content=body), 415, "unsupported-format")
    assert stored(service) == before
    assert http.get(path).json()["state"] == "awaiting_weights"
    problem(http.get(f"{path}/weights"), 409, "weights-not-offered")


def test_weights_are_uploaded_once(service: Service, client: Lethe, http: httpx.Client) -> None:
    path, _ = awaiting(client)
    response = http.put(f"{path}/weights", content=safetensors())
    assert (response.status_code, response.json()["state"]) == (202, "validating")
    assert response.headers["location"] == path
    before = stored(service)
    again = http.put(f"{path}/weights", content=safetensors(1.0))
    problem(again, 409, "weights-already-uploaded")
    assert stored(service) == before


def test_weights_come_back_as_they_were(client: Lethe, live: Registered, tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    steps: list[tuple[int, int]] = []
    digest = client.download_weights(
        live.model_id, live.version_id, file, progress=lambda *step: steps.append(step)
    )
    assert file.read_bytes() == live.weights
    assert digest == f"sha256:{hashlib.sha256(live.weights).hexdigest()}"
    assert steps[-1] == (len(live.weights), len(live.weights))
    assert list(tmp_path.iterdir()) == [file]


def test_downloads_describe_themselves(http: httpx.Client, live: Registered) -> None:
    response = http.get(f"{live.path}/weights")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["repr-digest"] == repr_digest(live.weights)
    assert response.headers["accept-ranges"] == "bytes"
    assert int(response.headers["content-length"]) == len(live.weights)
    assert "lethe-tainted" not in response.headers
    etag = response.headers["etag"]
    held = http.get(f"{live.path}/weights", headers={"If-None-Match": etag})
    assert (held.status_code, held.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-7", 0, 8),
        ("bytes=8-", 8, None),
        ("bytes=-8", -8, None),
        ("bytes=0-99999", 0, None),
    ],
)
def test_ranges_are_honoured(
    http: httpx.Client, live: Registered, asked: str, start: int, end: int | None
) -> None:
    response = http.get(f"{live.path}/weights", headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == live.weights[start:end]
    assert response.headers["content-range"].endswith(f"/{len(live.weights)}")
    assert response.headers["repr-digest"] == repr_digest(live.weights)


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-0"])
def test_ranges_outside_are_refused(http: httpx.Client, live: Registered, asked: str) -> None:
    response = http.get(f"{live.path}/weights", headers={"Range": asked})
    problem(response, 416, "range-not-satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(live.weights)}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1,4-5"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=5-1"},
        {"Range": "bytes=-"},
        {"Range": "bytes=0-7", "If-Range": '"another"'},
    ],
)
def test_other_ranges_get_everything(
    http: httpx.Client, live: Registered, headers: dict[str, str]
) -> None:
    response = http.get(f"{live.path}/weights", headers=headers)
    assert (response.status_code, response.content) == (200, live.weights)


def test_each_download_is_recorded(service: Service, client: Lethe) -> None:
    live = live_version(client)
    key = client.create_api_key("downloader", ["models:download"])
    with service.http(key["key"]) as http:
        http.get(f"{live.path}/weights")
        http.get(f"{live.path}/weights", headers={"Range": "bytes=0-7"})
        problem(http.get(live.path), 403, "missing-scope")
    items = list(client.downloads(live.model_id, live.version_id))
    assert [item["byte_range"] for item in reversed(items)] == [None, "0-7"]
    assert {item["api_key_id"] for item in items} == {key["id"]}
    assert {item["digest"] for item in items} == {
        f"sha256:{hashlib.sha256(live.weights).hexdigest()}"
    }


def test_a_withdrawn_version_answers_410(client: Lethe, http: httpx.Client) -> None:
    live = live_version(client)
    shown = client.withdraw_version(live.model_id, live.version_id)
    assert shown["state"] == "withdrawn"
    assert shown["digest"]
    problem(http.get(f"{live.path}/weights"), 410, "withdrawn")
    problem(http.put(f"{live.path}/weights", content=safetensors()), 410, "withdrawn")
    problem(http.post(f"{live.path}/withdrawal"), 409, "illegal-state")


def test_a_dataset_in_use_stays(client: Lethe, live: Registered) -> None:
    with pytest.raises(ApiProblem, match="409 in-use"):
        client.delete_dataset(live.dataset_id)


def test_a_deleted_model_withdraws_its_versions(client: Lethe, http: httpx.Client) -> None:
    live = live_version(client)
    client.delete_model(live.model_id)
    problem(http.get(f"/v1/models/{live.model_id}"), 404, "not-found")
    problem(http.get(f"{live.path}/weights"), 404, "not-found")
