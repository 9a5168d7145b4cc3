"""What holds for every route: keys, problem documents, limits, cursors."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.api.conftest import MAX_BODY_BYTES, Service

PROBLEM = "application/problem+json"
DATASET = {"name": "clothes", "columns": {"id": "id"}}
NOBODY = "ds_" + "0" * 26


def problem(response: httpx.Response, status: int, code: str) -> dict:
    """Check that an answer is this problem; return its document."""
    assert response.headers["content-type"] == PROBLEM, response.text
    document = response.json()
    assert (response.status_code, document["status"], document["code"]) == (status, status, code)
    assert document["type"] == f"urn:lethe:problem:{code}"
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nothing", "/v1/datasets/", "/v1/log/nothing"])
def test_an_unknown_path_is_a_problem(http: httpx.Client, path: str) -> None:
    problem(http.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", f"/v1/datasets/{NOBODY}", "DELETE, GET"),
        ("PUT", "/v1/datasets", "GET, POST"),
        ("DELETE", "/v1/models/x/policy", "GET, PUT"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_a_wrong_method_names_all_right_ones(
    http: httpx.Client, method: str, path: str, allow: str
) -> None:
    response = http.request(method, path)
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allow


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer wrong", "Basic bGV0aGU6", "Bearer " + "x" * 5000, "bearer é"],
)
def test_without_a_known_key_nothing_is_read(service: Service, authorization: str | None) -> None:
    with service.http(None) as http:
        if authorization is not None:
            http.headers = httpx.Headers([(b"Authorization", authorization.encode("latin-1"))])
        response = http.post("/v1/datasets", content=b"{broken")
    problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/version", "/openapi.json"])
def test_some_paths_take_no_key(service: Service, path: str) -> None:
    with service.http(None) as http:
        assert http.get(path).status_code == 200


def test_a_missing_scope_is_named(service: Service) -> None:
    with service.http(service.key("models:read")) as http:
        document = problem(http.post("/v1/datasets", json=DATASET), 403, "missing-scope")
    assert "datasets:write" in document["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": 123456789012345678901234567890}',
        b'{"name": "\\u0000", "columns": {"id": "id"}}',
        b'{"name": "\\ud800", "columns": {"id": "id"}}',
        b'{"name": "\xff", "columns": {"id": "id"}}',
        b'{"name": "a\x00b"}',
        b"[" * 5000,
        b"[" * 500 + b"]" * 500,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'"' + b"9" * 5000,
        b"9" * 5000,
    ],
)
def test_unreadable_json_is_refused(http: httpx.Client, body: bytes) -> None:
    response = http.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    problem(response, 400, "malformed-json")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_other_media_types_are_refused(http: httpx.Client, headers: dict[str, str]) -> None:
    response = http.post("/v1/datasets", content=json.dumps(DATASET), headers=headers)
    problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({**DATASET, "extra": 1}, "/extra", "extra-forbidden"),
        ({"columns": {"id": "id"}}, "/name", "missing"),
        ({**DATASET, "name": 7}, "/name", "string-type"),
        ({**DATASET, "name": ""}, "/name", "string-too-short"),
        ({**DATASET, "columns": {"id": None}}, "/columns/id", "string-type"),
        ([DATASET], "", "model-attributes-type"),
    ],
)
def test_fields_at_fault_are_pointed_to(
    http: httpx.Client, body: object, pointer: str, code: str
) -> None:
    document = problem(http.post("/v1/datasets", json=body), 422, "invalid-request")
    assert {"pointer": pointer, "code": code} in [
        {"pointer": e["pointer"], "code": e["code"]} for e in document["errors"]
    ]


def test_a_problem_repeats_nothing_that_was_sent(http: httpx.Client) -> None:
    secret = "anna.schmidt@example.org"
    body = {
        "dataset_id": NOBODY,
        "sample_ids": [secret, 7],
        secret: secret,
        "labels": [{"x": secret}],
    }
    response = http.post("/v1/deletion-requests", json=body)
    problem(response, 422, "invalid-request")
    assert secret not in response.text


def test_parameters_are_checked(http: httpx.Client) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "limit=99999999999999999999", "limit=1.5"):
        document = problem(http.get(f"/v1/datasets?{query}"), 422, "invalid-request")
        assert document["errors"][0]["parameter"] == "limit"


def test_a_cursor_is_good_for_its_own_list_only(service: Service, http: httpx.Client) -> None:
    for number in range(3):
        assert http.post("/v1/datasets", json={**DATASET, "name": str(number)}).status_code == 201
    first = http.get("/v1/datasets?limit=2").json()
    second = http.get(f"/v1/datasets?limit=2&cursor={first['next_cursor']}").json()
    names = [item["name"] for item in first["items"] + second["items"]]
    assert names[:3] == ["2", "1", "0"]
    assert http.get("/v1/models").json() == {"items": [], "next_cursor": None}

    cursor = first["next_cursor"]
    middle = len(cursor) // 2
    altered = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    for bad in (altered, "x", "", "%00", "é", "a" * 400, cursor[:-4]):
        problem(http.get("/v1/datasets", params={"cursor": bad}), 400, "invalid-cursor")
    problem(http.get("/v1/models", params={"cursor": cursor}), 400, "invalid-cursor")
    with service.http(service.tenant()[1]) as other:
        problem(other.get("/v1/datasets", params={"cursor": cursor}), 400, "invalid-cursor")


def test_a_body_above_the_limit_is_refused_and_the_client_hears_it(http: httpx.Client) -> None:
    body = json.dumps({**DATASET, "name": "x" * 2 * MAX_BODY_BYTES}).encode()
    headers = {"Content-Type": "application/json"}
    problem(http.post("/v1/datasets", content=body, headers=headers), 413, "too-large")
    pieces = (body[i : i + 65536] for i in range(0, len(body), 65536))
    problem(http.post("/v1/datasets", content=pieces, headers=headers), 413, "too-large")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/ds_%00",
        "/v1/datasets/..%2f..%2fetc",
        "/v1/requests/%ff%fe",
        "/v1/jobs/" + "x" * 3000,
        "/v1/jobs/job_" + "0" * 26,
        "/v1/models/mdl_é/versions/mv_" + "0" * 26,
    ],
)
def test_ids_that_cannot_exist_are_not_found(http: httpx.Client, path: str) -> None:
    problem(http.get(path), 404, "not-found")


def test_every_answer_carries_a_request_id(http: httpx.Client) -> None:
    assert len(http.get("/healthz").headers["x-request-id"]) == 24
    assert (
        http.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    )
    altered = http.get("/v1/nothing", headers={"X-Request-Id": "a b;c"}).headers["x-request-id"]
    assert altered != "a b;c"


def test_a_connection_serves_on_after_a_refusal(http: httpx.Client) -> None:
    for _ in range(3):
        problem(http.put("/v1/datasets", content=b"x" * 300_000), 405, "method-not-allowed")
        assert http.get("/healthz").status_code == 200


def test_half_a_request_harms_nothing(service: Service, http: httpx.Client) -> None:
    parts = urlsplit(service.address)
    for text in (
        b"POST /v1/datasets HTTP/1.1\r\nContent-Length: 10\r\n\r\n{",
        b"\x00\x01\x02\r\n\r\n",
    ):
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
            raw.sendall(text)
    assert http.get("/healthz").status_code == 200
    assert b"Traceback" not in service.log.read_bytes()
