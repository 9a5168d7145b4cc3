"""The log as tiles (C2SP tlog-tiles): from them alone every root and proof can be derived."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from app.api import readiness
from app.api.dependencies import Admin, Auditor, Look
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.domain.errors import Forbidden, NotFound, Refused
from app.domain.queries import tiles

BYTES = "application/octet-stream"
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
"""A tile never changes; what was guarded by a key must not be kept where none is asked for."""
HASHES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Hashes of 32 bytes.", "content": {BYTES: {}}}
}
ENTRIES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Leaves behind their lengths.", "content": {BYTES: {}}}
}

router = APIRouter(prefix="/v1/log/tile", tags=["Audit"], route_class=ApiRoute)

Index = Annotated[
    str,
    Path(
        description="`x001/x234/067` for 1234067; of a partial tile `067.p/<width>`.",
        pattern=r"^(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[1-9][0-9]{0,2})?$",
    ),
]


@router.get(
    "/entries/{index:path}",
    response_class=Response,
    responses=ENTRIES | problems(NotFound, Refused),
)
def get_entries(index: Index, caller: Admin, tx: Look) -> Response:
    """Show a bundle of leaves, of all tenants; for the operator of the log.

    Raises:
        Forbidden: The key is not of the tenant that holds the bootstrap key.
    """
    if not readiness.is_operator(tx, caller.tenant_id):
        raise Forbidden("only the operator's tenant may read the entries of all")
    return Response(tiles.bundle(tx, f"entries/{index}"), headers=FOR_EVER, media_type=BYTES)


@router.get(
    "/{level}/{index:path}",
    response_class=Response,
    responses=HASHES | problems(NotFound, Refused),
)
def get_tile(
    level: Annotated[str, Path(pattern=r"^([0-9]|[1-5][0-9]|6[0-3])$", description="0 to 63.")],
    index: Index,
    caller: Auditor,
    tx: Look,
) -> Response:
    """Show a tile of the tree: consecutive hashes of one of its levels, 256 if it is full."""
    return Response(tiles.tile(tx, f"{level}/{index}"), headers=FOR_EVER, media_type=BYTES)
