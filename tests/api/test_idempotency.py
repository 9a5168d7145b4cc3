"""One effect per idempotency key, whatever the client repeats."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.domain.catalog import Dataset
from app.domain.requests import IdempotencyRecord
from app.infra import db
from tests.api.conftest import Service, running
from tests.api.test_conventions import problem

DATASET = {"name": "clothes", "columns": {"id": "id"}}


def counted(name: str) -> int:
    """Count the datasets of a name."""
    with db.reading() as tx:
        return tx.scalar(select(func.count()).select_from(Dataset).where(Dataset.name == name)) or 0


def test_a_repetition_gets_the_stored_answer(http: httpx.Client) -> None:
    body, headers = {**DATASET, "name": "twice"}, {"Idempotency-Key": "a key of any text: é"}
    headers["Idempotency-Key"] = headers["Idempotency-Key"].encode("latin-1")  # type: ignore[assignment]
    first = http.post("/v1/datasets", json=body, headers=headers)
    again = http.post("/v1/datasets", json=body, headers=headers)

    assert first.status_code == again.status_code == 201
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert first.content == again.content
    for name in ("etag", "location", "content-type"):
        assert first.headers[name] == again.headers[name]
    assert counted("twice") == 1


def test_another_body_is_refused(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "other-body"}
    assert http.post("/v1/datasets", json=DATASET, headers=headers).status_code == 201
    other = http.post("/v1/datasets", json={**DATASET, "name": "else"}, headers=headers)
    problem(other, 422, "idempotency-key-reused")
    assert counted("else") == 0


def test_a_key_is_the_principals_and_the_routes_own(service: Service, http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "shared"}
    body = {**DATASET, "name": "by two"}
    assert http.post("/v1/datasets", json=body, headers=headers).status_code == 201
    with service.http(service.key()) as other:
        response = other.post("/v1/datasets", json=body, headers=headers)
    assert "idempotency-replayed" not in response.headers
    assert http.post("/v1/tenants", json={"name": "x"}, headers=headers).status_code == 201
    assert counted("by two") == 2


def test_a_refused_request_does_not_use_up_its_key(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "first-wrong"}
    assert http.post("/v1/datasets", json={"name": "x"}, headers=headers).status_code == 422
    assert http.post("/v1/datasets", json=DATASET, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_1_to_255_characters(http: httpx.Client, key: str) -> None:
    response = http.post("/v1/datasets", json=DATASET, headers={"Idempotency-Key": key})
    problem(response, 400, "malformed-idempotency-key")


def test_stored_answers_and_keys_are_sealed(service: Service, http: httpx.Client) -> None:
    secret = http.post(
        "/v1/api-keys",
        json={"name": "sealed", "scopes": ["models:read"]},
        headers={"Idempotency-Key": "visible-key-of-client"},
    ).json()["key"]
    with db.reading() as tx:
        records = tx.scalars(select(IdempotencyRecord)).all()
    assert records
    for record in records:
        assert secret.encode() not in record.body
    for path in service.home.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data, path
            assert b"visible-key-of-client" not in data, path


def race(address: str, key: str, name: str, times: int) -> list[httpx.Response]:
    """Send the same request many times at once."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"race-{name}"}

    def send(_: int) -> httpx.Response:
        body = {**DATASET, "name": name}
        return httpx.post(f"{address}/v1/datasets", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(send, range(times)))


def test_repetitions_at_once_have_one_effect(service: Service) -> None:
    answers = race(service.address, service.key(), "raced", 12)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert counted("raced") == 1


def test_repetitions_at_once_have_one_effect_on_postgresql(
    tmp_path: Path, postgres_url: str
) -> None:
    with running(tmp_path, LETHE_DATABASE_URL=postgres_url) as service:
        answers = race(service.address, service.key(), "raced", 12)
        codes = {answer.status_code for answer in answers}
        assert 201 in codes
        assert codes <= {201, 409}
        for answer in answers:
            if answer.status_code == 409:
                problem(answer, 409, "idempotency-key-in-flight")
                assert answer.headers["retry-after"]
        assert counted("raced") == 1
