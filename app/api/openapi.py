"""The description of the interface, completed with what every route can answer.

FastAPI knows what a route declares. What comes before a route (keys, scopes, bodies) and
after it (a door that does not answer) is the same for all and is added here.
"""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from app.api import errors
from app.api.auth import GUARDED
from app.api.schemas.base import Problem
from app.domain import errors as domain

SCHEME = "key"
PUBLIC = ("/healthz", "/readyz", "/version")
PREFIXES = {
    "api_key_id": "key",
    "dataset_id": "ds",
    "job_id": "job",
    "model_id": "mdl",
    "request_id": "req",
    "version_id": "mv",
}


def install(app: FastAPI) -> None:
    """Let the application describe itself completely."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = description(app)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI's documented way


def description(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    scheme = {"type": "http", "scheme": "bearer", "description": "An API key."}
    document["components"]["securitySchemes"] = {SCHEME: scheme}
    scopes = scopes_of(app)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(operation, is_public=path in PUBLIC)
            if path not in PUBLIC:
                _guard(operation, scopes[path, method.upper()])
    return document


def scopes_of(app: FastAPI) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the scopes of which every operation needs one; none: any key will do."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            guards = [GUARDED.get(d.call, ()) for d in route.dependant.dependencies if d.call]
            for method in route.methods or ():
                path = re.sub(r"\{(\w+):\w+\}", r"{\1}", str(context.path))
                found[path, method] = next(filter(None, guards), ())
    return found


def _guard(operation: dict[str, Any], scopes: tuple[str, ...]) -> None:
    """Say which key an operation takes."""
    operation["security"] = [{SCHEME: []}]
    if scopes:
        said = " or ".join(f"`{scope}`" for scope in scopes)
        operation["description"] = f"{operation.get('description', '')}\n\nScope: {said}.".strip()


def _complete(operation: dict[str, Any], *, is_public: bool) -> None:
    """Add the answers that do not depend on the route, and drop FastAPI's own 422."""
    responses = operation["responses"]
    if "description" in operation:
        # What a function raises is for its readers; the answers below say the same to clients.
        operation["description"] = operation["description"].partition("\n\nRaises:")[0]
    if "HTTPValidationError" in str(responses.get("422")):
        responses["422"] = errors.problems(domain.Refused)[422]
    added: list[type[domain.DomainError]] = [errors.Unavailable]
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if not is_public:
        added += [domain.Unauthenticated, domain.Forbidden]
    if names & {"cursor", "If-Match", "If-None-Match", "Idempotency-Key", "Repr-Digest"}:
        added.append(errors.BadRequest)
    if names & {"If-Match"}:
        added.append(domain.StaleVersion)
    if "If-None-Match" in names:
        responses.setdefault("304", {"description": "The caller holds this already."})
    if "requestBody" in operation:
        added += [errors.BadRequest, domain.TooLarge, errors.UnsupportedMediaType]
    for status, answer in errors.problems(*added).items():
        responses.setdefault(str(status), answer)
    for parameter in operation.get("parameters", ()):
        prefix = PREFIXES.get(parameter["name"])
        if parameter["in"] == "path" and prefix is not None:
            parameter["schema"] |= {"pattern": f"^{prefix}_[0-9a-z]{{26}}$"}
