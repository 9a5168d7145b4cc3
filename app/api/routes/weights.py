"""The weights themselves: one upload, downloads that are recorded."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from sqlalchemy.orm import Session

from app.api import downloads, uploads
from app.api.answers import accepted, listed
from app.api.dependencies import (
    Downloader,
    IfMatch,
    IfNoneMatch,
    Look,
    ModelReader,
    ModelWriter,
    Paging,
    Tx,
    read,
    write,
)
from app.api.errors import OutOfRoom, RangeNotSatisfiable, problems
from app.api.routes.versions import document, place
from app.api.routing import ApiRoute
from app.api.schemas.base import Listing
from app.api.schemas.versions import DownloadOut, VersionOut
from app.domain.actions import versions
from app.domain.catalog import Version
from app.domain.errors import (
    Conflict,
    Gone,
    NotFound,
    Refused,
    StaleVersion,
    TooLarge,
    UnsupportedFormat,
)
from app.domain.queries import catalog
from app.infra import weights_file

router = APIRouter(
    prefix="/v1/models/{model_id}/versions/{version_id}", tags=["Weights"], route_class=ApiRoute
)

FILE: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
    for status, text in ((200, "The safetensors file."), (206, "The bytes asked for."))
}


@router.put(
    "/weights",
    status_code=202,
    response_model=VersionOut,
    openapi_extra=uploads.BINARY_BODY,
    responses=problems(
        Conflict, Gone, NotFound, OutOfRoom, Refused, StaleVersion, TooLarge, UnsupportedFormat
    ),
)
async def put_weights(
    model_id: str,
    version_id: str,
    http_request: Request,
    caller: ModelWriter,
    if_match: IfMatch,
    repr_digest: uploads.ReprDigest = None,
) -> Response:
    """Upload a version's weights as safetensors; they are validated in the background."""
    tenant = caller.tenant_id
    upload = await read(
        lambda tx: versions.begin_weights(tx, tenant, model_id, version_id, if_match)
    )
    stored = await uploads.receive(
        http_request, upload.key, repr_digest, refuse_foreign, weights_file.PREFIX_BYTES
    )

    def finish(tx: Session) -> tuple[Version, VersionOut]:
        version = versions.finish_weights(
            tx,
            caller.actor,
            tenant,
            model_id,
            version_id,
            upload,
            digest=stored.digest,
            size=stored.size,
        )
        return version, document(tx, version)

    async with uploads.destroyed_on_failure(upload.key):
        version, shown = await write(finish)
    return accepted(version, shown, place(version))


@router.get(
    "/weights",
    response_class=Response,
    responses=FILE | problems(Conflict, Gone, NotFound, RangeNotSatisfiable),
)
def get_weights(
    model_id: str,
    version_id: str,
    caller: Downloader,
    tx: Tx,
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(alias="If-Range")] = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a version's weights; who, when and which digest is recorded first."""
    version = catalog.version(tx, caller.tenant_id, model_id, version_id)
    versions.require_offered(version)
    held = downloads.not_modified(version, if_none_match)
    if held is not None:
        return held
    part = downloads.wanted_range(version, byte_range, if_range)
    answer = downloads.send(version, part)
    span = None if part is None else f"{part[0]}-{part[1] - 1}"
    versions.record_download(tx, caller.actor, version, span)
    return answer


@router.get("/downloads", response_model=Listing[DownloadOut], responses=problems(NotFound))
def list_downloads(
    model_id: str, version_id: str, caller: ModelReader, tx: Look, page: Paging
) -> Response:
    """List who has downloaded the version."""
    version = catalog.version(tx, caller.tenant_id, model_id, version_id)
    part = catalog.downloads(tx, caller.tenant_id, version.id, page.order)
    return listed(page, [DownloadOut.of(item) for item in part.items], part.next_cursor)


def refuse_foreign(prefix: bytes) -> None:
    """Refuse a file that is of another format, by its first bytes.

    What looks like safetensors and is broken goes on: validation says how.

    Raises:
        UnsupportedFormat: It is a pickle, an archive, zeros or something else.
    """
    if not any(prefix):
        raise UnsupportedFormat("the bytes are not a safetensors file", format="zeros")
    try:
        weights_file.check_prefix(prefix)
    except weights_file.ForeignFormat as error:
        raise UnsupportedFormat(
            "the bytes are not a safetensors file", format=error.format
        ) from None
    except weights_file.HeaderLength:
        return
