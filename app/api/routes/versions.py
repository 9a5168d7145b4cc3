"""Versions of a model: registration, documents, reports, withdrawal."""

from typing import Any

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from app.api.answers import created, listed, tagged
from app.api.dependencies import (
    IfMatch,
    IfNoneMatch,
    Look,
    ModelReader,
    ModelWriter,
    Once,
    Paging,
)
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.base import Listing
from app.api.schemas.versions import VersionIn, VersionOut
from app.domain.actions import versions
from app.domain.catalog import Version
from app.domain.errors import Conflict, NotFound, Refused, StaleVersion
from app.domain.queries import catalog

router = APIRouter(prefix="/v1/models/{model_id}/versions", tags=["Versions"], route_class=ApiRoute)


@router.post(
    "",
    status_code=201,
    response_model=VersionOut,
    responses=problems(Conflict, NotFound, Refused),
)
def create_version(model_id: str, body: VersionIn, caller: ModelWriter, tx: Once) -> Response:
    """Register a version; its weights come next."""
    version = versions.create_version(tx, caller.actor, caller.tenant_id, model_id, body.order())
    return created(version, document(tx, version), place(version))


@router.get("", response_model=Listing[VersionOut], responses=problems(NotFound))
def list_versions(model_id: str, caller: ModelReader, tx: Look, page: Paging) -> Response:
    """List a model's versions."""
    part = catalog.versions(tx, caller.tenant_id, model_id, page.order)
    return listed(page, [document(tx, version) for version in part.items], part.next_cursor)


@router.get("/{version_id}", response_model=VersionOut, responses=problems(NotFound))
def get_version(
    model_id: str,
    version_id: str,
    caller: ModelReader,
    tx: Look,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Show a version."""
    version = catalog.version(tx, caller.tenant_id, model_id, version_id)
    return tagged(version, document(tx, version), if_none_match=if_none_match)


@router.get("/{version_id}/report", responses=problems(NotFound))
def get_report(model_id: str, version_id: str, caller: ModelReader, tx: Look) -> dict[str, Any]:
    """Show the verification report of the job that made the version.

    Raises:
        NotFound: It was uploaded, not made here.
    """
    version = catalog.version(tx, caller.tenant_id, model_id, version_id)
    report = catalog.report_of_version(tx, version.id)
    if report is None:
        raise NotFound("no job has made this version", code="no-report")
    return report.document


@router.post(
    "/{version_id}/withdrawal",
    response_model=VersionOut,
    responses=problems(Conflict, NotFound, StaleVersion),
)
def withdraw_version(
    model_id: str, version_id: str, caller: ModelWriter, tx: Once, if_match: IfMatch
) -> Response:
    """Withdraw a version for good: its weights are destroyed."""
    version = versions.withdraw_version(
        tx, caller.actor, caller.tenant_id, model_id, version_id, if_match
    )
    return tagged(version, document(tx, version))


def document(tx: Session, version: Version) -> VersionOut:
    """Return a version's document."""
    return VersionOut.of(version, catalog.report_of_version(tx, version.id))


def place(version: Version) -> str:
    """Return a version's path."""
    return f"/v1/models/{version.model_id}/versions/{version.id}"
