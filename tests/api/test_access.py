"""Tenants and keys."""

import httpx
import pytest

from app.client import ApiProblem, Lethe
from tests.api.conftest import Service
from tests.api.test_conventions import problem


def test_a_secret_is_shown_once(client: Lethe, http: httpx.Client) -> None:
    made = client.create_api_key("reader", ["models:read"])
    assert made["key"].startswith("lethe_")
    for path in ("/v1/api-keys", f"/v1/api-keys/{made['id']}"):
        assert made["key"] not in http.get(path).text
    assert next(iter(client.api_keys()))["scopes"] == ["models:read"]


def test_a_revoked_key_opens_nothing(service: Service, client: Lethe) -> None:
    made = client.create_api_key("short-lived", ["models:read"])
    with service.http(made["key"]) as http:
        assert http.get("/v1/models").status_code == 200
        client.revoke_api_key(made["id"])
        problem(http.get("/v1/models"), 401, "unauthenticated")


def test_an_expired_key_opens_nothing(service: Service, client: Lethe) -> None:
    made = client.create_api_key("past", ["admin"], expires_at="2020-01-01T00:00:00+02:00")
    with service.http(made["key"]) as http:
        problem(http.get("/v1/models"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "expires_at",
    ["2026-01-01", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59", 1, "2026-01-01T00:00:00"],
)
def test_times_are_rfc_3339(http: httpx.Client, expires_at: object) -> None:
    body = {"name": "x", "scopes": ["admin"], "expires_at": expires_at}
    document = problem(http.post("/v1/api-keys", json=body), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/expires_at"


@pytest.mark.parametrize("scopes", [[], ["root"], ["admin", 1], "admin"])
def test_scopes_are_known_ones(http: httpx.Client, scopes: object) -> None:
    problem(http.post("/v1/api-keys", json={"name": "x", "scopes": scopes}), 422, "invalid-request")


def test_only_the_bootstrap_key_makes_tenants_and_keys_for_them(service: Service) -> None:
    tenant_id, key = service.tenant()
    with service.client(key) as admin:
        with pytest.raises(ApiProblem, match="403 missing-scope"):
            admin.create_tenant("third")
        assert [tenant["id"] for tenant in admin.tenants()] == [tenant_id]
        assert admin.create_api_key("own", ["admin"])["tenant_id"] == tenant_id
        other = service.tenant()[0]
        with pytest.raises(ApiProblem, match="404"):
            admin.create_api_key("foreign", ["admin"], tenant_id=other)
    with service.client() as client:
        assert tenant_id in [tenant["id"] for tenant in client.tenants()]


def test_keys_without_admin_make_no_keys(service: Service) -> None:
    with service.client(service.key("models:write", "requests:decide")) as client:
        for act in (client.api_keys, client.tenants):
            with pytest.raises(ApiProblem, match="403"):
                list(act())


def test_figures_are_the_operators(service: Service, client: Lethe) -> None:
    text = client.metrics()
    assert "lethe_http_requests_total" in text
    assert "lethe_requests_overdue 0.0" in text
    with service.client(service.tenant()[1]) as other, pytest.raises(ApiProblem, match="403"):
        other.metrics()
    with service.http(None) as http:
        assert http.get("/metrics").status_code == 401
