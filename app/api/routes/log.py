"""The log that every audit entry is sealed into: its checkpoints, keys, leaves and proofs."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app.api.answers import plain
from app.api.dependencies import Auditor, Look
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.base import id_of
from app.api.schemas.log import ConsistencyOut, InclusionOut, LogKeyOut, LogKeysOut
from app.domain.errors import NotFound, Refused
from app.domain.queries import log
from app.infra.settings import settings
from app.infra.signing import keyring

LARGEST_SIZE = 2**53 - 1
TEXT = "text/plain; charset=utf-8"
NOTE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A signed note.", "content": {"text/plain": {}}}
}
LEAF: dict[int | str, dict[str, Any]] = {
    200: {"description": "Canonical JSON.", "content": {"application/json": {}}}
}

router = APIRouter(prefix="/v1/log", tags=["Audit"], route_class=ApiRoute)

Size = Annotated[int | None, Query(ge=0, le=LARGEST_SIZE)]


@router.get(
    "/checkpoint",
    response_class=Response,
    responses=NOTE | problems(NotFound),
)
def get_checkpoint(
    caller: Auditor,
    tx: Look,
    cosigned: Annotated[
        bool, Query(description="Only one that the configured quorum of witnesses has cosigned.")
    ] = False,
) -> Response:
    """Show the newest checkpoint: a C2SP signed note of the log's size and root.

    It carries the cosignatures of witnesses, which come a moment after it.

    Raises:
        NotFound: Nothing has been signed, or cosigned, yet.
    """
    found = log.checkpoint(tx)
    if cosigned:
        quorum = settings().witness_policy.quorum
        enough = log.cosigned(tx, quorum)
        if enough is None:
            raise NotFound("Too few witnesses have cosigned anything", code="nothing-cosigned")
        found = enough
    headers = {"Cache-Control": "no-cache"}
    return Response(log.note_of(tx, found), headers=headers, media_type=TEXT)


@router.get("/keys", response_model=LogKeysOut)
def list_keys(caller: Auditor) -> Response:
    """List the public keys of the log, with the times in which each counts."""
    items = [LogKeyOut.model_validate(item) for item in keyring().document()["items"]]
    return plain(LogKeysOut(items=items))


@router.get(
    "/leaves/{index}",
    response_class=Response,
    responses=LEAF | problems(NotFound, Refused),
)
def get_leaf(
    index: Annotated[int, Path(ge=0, le=LARGEST_SIZE)], caller: Auditor, tx: Look
) -> Response:
    """Show the exact bytes of one of the tenant's leaves, as they are hashed."""
    return Response(log.leaf(tx, caller.tenant_id, index), media_type="application/json")


@router.get("/proof/inclusion", response_model=InclusionOut, responses=problems(NotFound, Refused))
def prove_inclusion(
    caller: Auditor, tx: Look, entry_id: Annotated[str, id_of("evt")], size: Size = None
) -> Response:
    """Prove that an entry is in the tree of ``size`` leaves, by default the newest signed one."""
    proof = log.inclusion(tx, caller.tenant_id, entry_id, size)
    return plain(
        InclusionOut(index=proof.index, size=proof.size, hashes=proof.hashes, root=proof.root)
    )


@router.get(
    "/proof/consistency", response_model=ConsistencyOut, responses=problems(NotFound, Refused)
)
def prove_consistency(
    caller: Auditor,
    tx: Look,
    earlier: Annotated[int, Query(alias="from", ge=1, le=LARGEST_SIZE)],
    later: Annotated[int | None, Query(alias="to", ge=1, le=LARGEST_SIZE)] = None,
) -> Response:
    """Prove that the tree of ``to`` leaves, by default the newest, continues that of ``from``."""
    size, hashes = log.consistency(tx, earlier, later)
    return plain(ConsistencyOut(from_size=earlier, to_size=size, hashes=hashes))
