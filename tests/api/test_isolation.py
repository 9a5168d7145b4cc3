"""Another tenant's things do not exist: every path, every method, 404 and nothing changed."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api.main import create_app
from app.client import Lethe
from tests.api.conftest import Service
from tests.api.registered import VERSION, live_version, safetensors

BODIES: dict[str, dict[str, Any]] = {
    "/v1/models/{model_id}/policy": {"method": "auto"},
    "/v1/models/{model_id}/versions": VERSION,
    "/v1/requests/{request_id}/membership": {"sample_id": "s0"},
    "/v1/requests/{request_id}/revocation": {"reason": "issued-in-error"},
}


def operations() -> Iterator[tuple[str, str]]:
    """Yield every operation that names something by its id."""
    for path, methods in create_app().openapi()["paths"].items():
        if "_id}" in path:
            yield from ((method.upper(), path) for method in methods)


@pytest.fixture(scope="module")
def ids(service: Service) -> dict[str, str]:
    """Ids of the first tenant's things."""
    with service.client() as client:
        live = live_version(client)
        shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
        return {
            "api_key_id": str(client.create_api_key("theirs", ["admin"])["id"]),
            "dataset_id": live.dataset_id,
            "job_id": str(shown["targets"][0]["job_id"]),
            "model_id": live.model_id,
            "number": "1",
            "request_id": str(shown["id"]),
            "version_id": live.version_id,
        }


@pytest.fixture(scope="module")
def stranger(service: Service) -> Iterator[httpx.Client]:
    """An admin of another tenant."""
    with service.http(service.tenant()[1]) as http:
        yield http


@pytest.mark.parametrize(("method", "path"), sorted(operations()))
def test_a_stranger_finds_nothing(
    stranger: httpx.Client, ids: dict[str, str], method: str, path: str
) -> None:
    place = path.format(**ids)
    body: dict[str, Any] = {}
    if path in BODIES:
        body["json"] = dict(BODIES[path])
        if path.endswith("/versions"):
            body["json"]["dataset_id"] = ids["dataset_id"]
    elif method == "PUT":
        body["content"] = safetensors()
    if method == "GET":
        body.pop("json", None)
    response = stranger.request(method, place, **body)
    assert response.status_code == 404, response.text
    assert response.json()["code"] == "not-found"


@pytest.mark.parametrize("path", ["deletion-requests", "corrections"])
def test_a_stranger_files_nothing(stranger: httpx.Client, ids: dict[str, str], path: str) -> None:
    named = {"sample_ids": ["s0"]} if path == "deletion-requests" else {
        "corrections": [{"sample_id": "s0", "label": 1}]
    }  # fmt: skip
    for suffix in ("", "/preview"):
        body = {"dataset_id": ids["dataset_id"], **named}
        assert stranger.post(f"/v1/{path}{suffix}", json=body).status_code == 404


def test_a_stranger_builds_on_nothing(
    service: Service, stranger: httpx.Client, ids: dict[str, str]
) -> None:
    model_id = stranger.post("/v1/models", json={"name": "own"}).json()["id"]
    body = {**VERSION, "dataset_id": ids["dataset_id"]}
    response = stranger.post(f"/v1/models/{model_id}/versions", json=body)
    assert response.status_code in {404, 422}
    own = ids | {"model_id": model_id}
    path = "/v1/models/{model_id}/versions/{version_id}".format(**own)
    assert stranger.get(path).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["datasets", "models", "requests", "jobs", "audit/entries"],
)
def test_a_strangers_lists_are_their_own(
    client: Lethe, stranger: httpx.Client, ids: dict[str, str], path: str
) -> None:
    shown = stranger.get(f"/v1/{path}", params={"limit": 500}).text
    assert not any(value in shown for value in ids.values() if "_" in value)
    for name in ("request_id", "version_id", "job_id", "model_id"):
        found = stranger.get(f"/v1/{path}", params={name: ids[name]})
        assert found.status_code == 200
        if path == "audit/entries" and name != "model_id":
            assert found.json()["items"] == []


def test_nothing_of_the_owners_has_changed(client: Lethe, ids: dict[str, str]) -> None:
    assert client.version(ids["model_id"], ids["version_id"])["state"] == "tainted"
    assert client.request(ids["request_id"])["state"] == "scheduled"
    assert client.job(ids["job_id"])["state"] == "queued"
    assert client.dataset(ids["dataset_id"])["state"] == "ready"
    assert ids["api_key_id"] in [key["id"] for key in client.api_keys() if key["state"] == "active"]
