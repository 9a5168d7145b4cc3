"""Datasets, their content and their revisions."""

from contextlib import suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from app.api import uploads
from app.api.answers import accepted, created, gone, listed, tagged
from app.api.dependencies import (
    DatasetReader,
    DatasetWriter,
    IfMatch,
    IfNoneMatch,
    Look,
    Once,
    Paging,
    Tx,
    read,
    write,
)
from app.api.errors import OutOfRoom, problems
from app.api.routing import ApiRoute
from app.api.schemas.base import Listing
from app.api.schemas.datasets import DatasetIn, DatasetOut, RevisionOut
from app.domain.actions import datasets
from app.domain.catalog import Dataset, Revision
from app.domain.errors import (
    Conflict,
    NotFound,
    Refused,
    StaleVersion,
    TooLarge,
    UnsupportedFormat,
)
from app.domain.failures import failure
from app.domain.queries import catalog
from app.infra.storage import Stored

router = APIRouter(prefix="/v1/datasets", tags=["Datasets"], route_class=ApiRoute)

PARQUET = b"PAR1"
"""How every Parquet file begins."""
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.post("", status_code=201, response_model=DatasetOut, responses=problems(Conflict, Refused))
def create_dataset(body: DatasetIn, caller: DatasetWriter, tx: Once) -> Response:
    """Register a dataset; its content comes next."""
    dataset = datasets.create_dataset(tx, caller.actor, caller.tenant_id, body.order())
    return created(dataset, DatasetOut.of(dataset), f"/v1/datasets/{dataset.id}")


@router.get("", response_model=Listing[DatasetOut])
def list_datasets(caller: DatasetReader, tx: Look, page: Paging) -> Response:
    """List the datasets."""
    part = catalog.datasets(tx, caller.tenant_id, page.order)
    return listed(page, [DatasetOut.of(dataset) for dataset in part.items], part.next_cursor)


@router.get("/{dataset_id}", response_model=DatasetOut, responses=problems(NotFound))
def get_dataset(
    dataset_id: str, caller: DatasetReader, tx: Look, if_none_match: IfNoneMatch = None
) -> Response:
    """Show a dataset."""
    dataset = catalog.load(tx, Dataset, caller.tenant_id, dataset_id)
    return tagged(dataset, DatasetOut.of(dataset), if_none_match=if_none_match)


@router.delete(
    "/{dataset_id}", status_code=204, responses=problems(Conflict, NotFound, StaleVersion)
)
def delete_dataset(dataset_id: str, caller: DatasetWriter, tx: Tx, if_match: IfMatch) -> Response:
    """Delete a dataset and its rows, unless a version trained on it is still there."""
    datasets.delete_dataset(tx, caller.actor, caller.tenant_id, dataset_id, if_match)
    return gone()


@router.put(
    "/{dataset_id}/content",
    status_code=202,
    response_model=DatasetOut,
    openapi_extra=uploads.BINARY_BODY,
    responses=problems(Conflict, NotFound, StaleVersion, TooLarge, Refused, OutOfRoom),
)
async def put_content(
    dataset_id: str,
    http_request: Request,
    caller: DatasetWriter,
    if_match: IfMatch,
    on_suppressed: Annotated[
        Literal["refuse", "drop"], Query(description="What becomes of suppressed rows.")
    ] = "refuse",
    repr_digest: uploads.ReprDigest = None,
) -> Response:
    """Upload a revision as Parquet; it is imported in the background."""
    tenant = caller.tenant_id
    upload = await read(lambda tx: datasets.begin_revision(tx, tenant, dataset_id, if_match))
    stored: Stored | None = None
    # Said before the file is here: what is not Parquet is not stored at all.
    with suppress(UnsupportedFormat):
        stored = await uploads.receive(
            http_request, upload.key, repr_digest, refuse_foreign, len(PARQUET)
        )

    def finish(tx: Session) -> tuple[Revision, Dataset]:
        place = (tx, caller.actor, tenant, dataset_id, upload)
        if stored is None:
            error = failure("not-parquet", "the content is not Parquet")
            revision = datasets.refuse_content(*place, error)
        else:
            digest = stored.digest
            revision = datasets.finish_revision(*place, digest=digest, on_suppressed=on_suppressed)
        return revision, catalog.load(tx, Dataset, tenant, dataset_id)

    async with uploads.destroyed_on_failure(upload.key):
        revision, dataset = await write(finish)
    place = f"/v1/datasets/{dataset_id}/revisions/{revision.number}"
    return accepted(dataset, DatasetOut.of(dataset), place)


@router.get(
    "/{dataset_id}/revisions", response_model=Listing[RevisionOut], responses=problems(NotFound)
)
def list_revisions(dataset_id: str, caller: DatasetReader, tx: Look, page: Paging) -> Response:
    """List a dataset's revisions."""
    part = catalog.revisions(tx, caller.tenant_id, dataset_id, page.order)
    return listed(page, [RevisionOut.of(revision) for revision in part.items], part.next_cursor)


@router.get(
    "/{dataset_id}/revisions/{number}",
    response_model=RevisionOut,
    responses=problems(NotFound, Refused),
)
def get_revision(
    dataset_id: str,
    number: Number,
    caller: DatasetReader,
    tx: Look,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show one revision."""
    revision = catalog.revision(tx, caller.tenant_id, dataset_id, number)
    return tagged(revision, RevisionOut.of(revision), if_none_match=if_none_match)


def refuse_foreign(prefix: bytes) -> None:
    """Refuse what does not begin like Parquet.

    Raises:
        UnsupportedFormat: It does not.
    """
    if prefix != PARQUET:
        raise UnsupportedFormat("the content is not Parquet")
