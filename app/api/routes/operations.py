"""Health, readiness, release and figures of the service."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Response

from app.api import metrics, readiness
from app.api.answers import plain
from app.api.dependencies import Admin, Look
from app.api.routing import ApiRoute, PublicRoute
from app.api.schemas.operations import HealthOut, ReadyOut, ReleaseOut
from app.domain.errors import Forbidden

DISTRIBUTION = "lethe-unlearning"

router = APIRouter(tags=["Operations"], route_class=PublicRoute)
guarded = APIRouter(tags=["Operations"], route_class=ApiRoute)


@router.get("/healthz")
async def get_health() -> HealthOut:
    """Tell that the process answers."""
    return HealthOut(status="ok")


@router.get(
    "/readyz",
    response_model=ReadyOut,
    responses={503: {"model": ReadyOut, "description": "A door is closed."}},
)
def get_readiness() -> Response:
    """Tell whether the database, its schema and the object store are there."""
    checks = readiness.checks()
    is_ready = all(value == "ok" for value in checks.values())
    shown = ReadyOut(status="ready" if is_ready else "not ready", checks=checks)
    return plain(shown, 200 if is_ready else 503)


@router.get("/version")
async def get_version() -> ReleaseOut:
    """Tell which release this is."""
    return ReleaseOut(name=DISTRIBUTION, version=release(), api="v1")


@guarded.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Figures.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def get_metrics(caller: Admin, tx: Look) -> Response:
    """Show the figures of the whole service in Prometheus' format; for its operator.

    Raises:
        Forbidden: The key is not of the tenant that holds the bootstrap key.
    """
    if not readiness.is_operator(tx, caller.tenant_id):
        raise Forbidden("only the operator's tenant may read the figures of all")
    return Response(metrics.exposition(tx), media_type="text/plain; version=0.0.4; charset=utf-8")


def release() -> str:
    """Return the installed release, "0" when run from a folder without one."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"
