"""The description agrees with the service: thousands of generated calls, none a surprise."""

import re
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from app.api.main import create_app
from app.client import Lethe
from tests.api.conftest import ADMIN_KEY, Service, running
from tests.api.registered import live_version

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
]
EXAMPLES = 50  # times 58 operations: some 2,800 calls; a few have fewer different ones
DATASET = re.compile(r"ds_[0-9a-z]{26}")
LIMITS = {"LETHE_MAX_UPLOAD_BYTES": "100000", "LETHE_MAX_BODY_BYTES": str(32 << 20)}
FOLLOWED = "/v1/jobs/{job_id}/progress"

PATHS = sorted(
    (method.upper(), path)
    for path, methods in create_app().openapi()["paths"].items()
    for method in methods
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("home"), **LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def known(service: Service) -> dict[str, str]:
    """Ids of things that exist, so that not every call ends at 404."""
    with service.client() as client:
        live = live_version(client)
        shown = client.submit_deletion(live.dataset_id, sample_ids=["s0"])
        other = live_version(client)
        done = client.submit_deletion(other.dataset_id, sample_ids=["s0"])
        client.cancel_request(done["id"])
        return {
            FOLLOWED: str(done["targets"][0]["job_id"]),
            "dataset_id": live.dataset_id,
            "job_id": str(shown["targets"][0]["job_id"]),
            "model_id": live.model_id,
            "request_id": str(shown["id"]),
            "version_id": live.version_id,
        }


@pytest.fixture(scope="module")
def schema(service: Service) -> schemathesis.BaseSchema:
    """The description, as the service gives it out; keys have a test of their own."""
    with service.client(None) as client:
        document = client.openapi()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return schemathesis.openapi.from_dict(document)


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_generated_calls_are_answered_as_described(
    service: Service,
    schema: schemathesis.BaseSchema,
    known: dict[str, str],
    method: str,
    path: str,
) -> None:
    operation = schema[path][method]
    ids = {name: value for name, value in known.items() if f"{{{name}}}" in path}
    if path == FOLLOWED:  # an open job would be followed until the test's time is over
        ids["job_id"] = known[FOLLOWED]
    spare = method != "DELETE" and not path.endswith("/withdrawal")

    @seed(20261121)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    def try_all(case: schemathesis.Case, is_foreign: bool) -> None:
        meta = case.meta
        assert meta is not None
        if spare and not is_foreign and not meta.is_negative_at(ParameterLocation.PATH):
            case.path_parameters.update(ids)
        if isinstance(case.body, dict) and DATASET.fullmatch(str(case.body.get("dataset_id"))):
            case.body["dataset_id"] = known["dataset_id"]
        if meta.generation.mode.is_positive:  # any text is a cursor, but none that was issued
            for container in (case.query, case.headers):
                for name in ("cursor", "If-Match", "If-None-Match"):
                    container.pop(name, None)
        if isinstance(case.query.get("wait"), float) and 0 <= case.query["wait"] <= 30:
            case.query["wait"] = 0.0
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        case.call_and_validate(base_url=service.address, headers=headers, checks=CHECKS, timeout=60)

    cases = strategies.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )
    given(case=cases, is_foreign=strategies.booleans())(try_all)()


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_every_operation_asks_for_a_key_before_anything_else(
    service: Service, method: str, path: str
) -> None:
    with service.http(None) as http:
        status = http.request(method, re.sub(r"\{.*?\}", "x", path)).status_code
    assert status == (200 if path in {"/healthz", "/readyz", "/version"} else 401)


def test_the_description_names_every_status_of_every_route() -> None:
    document = create_app().openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            statuses = set(operation["responses"])
            assert "503" in statuses, (method, path)
            if path not in {"/healthz", "/readyz", "/version"}:
                assert {"401", "403"} <= statuses, (method, path)
            if "_id}" in path:
                assert "404" in statuses, (method, path)
            if "requestBody" in operation:
                assert {"400", "413", "415"} <= statuses, (method, path)


def test_the_log_is_silent_about_what_was_sent(service: Service, client: Lethe) -> None:
    live = live_version(client)
    canary = "canary-person-7461"
    client.submit_deletion(live.dataset_id, sample_ids=[canary], subject_ids=[canary])
    list(client.search_requests(reference=canary))
    assert canary not in service.log.read_text()
    assert "Traceback" not in service.log.read_text()
