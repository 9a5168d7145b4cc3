"""Reads of datasets, models, versions and downloads."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import gate
from app.domain.base import Entity
from app.domain.catalog import SERVING_STATES, Dataset, Download, Model, Revision, Version
from app.domain.errors import NotFound
from app.domain.queries.paging import PageOrder, Slice, fetch
from app.domain.reports import Report
from app.domain.texts import is_plain

Kind = TypeVar("Kind", bound=Entity)
DELETED = "deleted"


def load(tx: Session, cls: type[Kind], tenant_id: str, id: str, *, lock: bool = False) -> Kind:
    """Read one entity of a tenant.

    Args:
        tx: The transaction.
        cls: Its table.
        tenant_id: Whose it must be.
        id: Its id.
        lock: Pass the tenant's gate first; needed before it is changed.

    Raises:
        NotFound: There is none, it is another tenant's, or it was deleted.
    """
    if not is_plain(id, 40):
        raise NotFound
    if lock:
        gate.enter(tx, tenant_id)
    found = tx.get(cls, id)
    if found is None or found.tenant_id != tenant_id or found.state == DELETED:
        raise NotFound(f"There is no such {cls.KIND}")
    return found


def datasets(tx: Session, tenant_id: str, page: PageOrder) -> Slice[Dataset]:
    """List the datasets that were not deleted, newest first."""
    query = select(Dataset).where(Dataset.tenant_id == tenant_id, Dataset.state != DELETED)
    return fetch(tx, query, Dataset.id, page)


def revisions(tx: Session, tenant_id: str, dataset_id: str, page: PageOrder) -> Slice[Revision]:
    """List the revisions of a dataset, newest first.

    Raises:
        NotFound: There is no such dataset.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id)
    query = select(Revision).where(Revision.dataset_id == dataset.id, Revision.state != DELETED)
    return fetch(tx, query, Revision.id, page)


def revision(tx: Session, tenant_id: str, dataset_id: str, number: int) -> Revision:
    """Read one revision by its number.

    Raises:
        NotFound: There is no such dataset or revision.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id)
    if 1 <= number <= dataset.last_revision:
        found = tx.scalar(
            select(Revision).where(Revision.dataset_id == dataset.id, Revision.number == number)
        )
        if found is not None and found.state != DELETED:
            return found
    raise NotFound("There is no such revision")


def models(tx: Session, tenant_id: str, page: PageOrder) -> Slice[Model]:
    """List the models that were not deleted, newest first."""
    query = select(Model).where(Model.tenant_id == tenant_id, Model.state != DELETED)
    return fetch(tx, query, Model.id, page)


def versions(tx: Session, tenant_id: str, model_id: str, page: PageOrder) -> Slice[Version]:
    """List the versions of a model, newest first.

    Raises:
        NotFound: There is no such model.
    """
    model = load(tx, Model, tenant_id, model_id)
    return fetch(tx, select(Version).where(Version.model_id == model.id), Version.id, page)


def version(tx: Session, tenant_id: str, model_id: str, version_id: str) -> Version:
    """Read one version below its model.

    Raises:
        NotFound: There is no such model, or no such version of it.
    """
    model = load(tx, Model, tenant_id, model_id)
    found = load(tx, Version, tenant_id, version_id)
    if found.model_id != model.id:
        raise NotFound("There is no such version")
    return found


def live_version_ids(tx: Session, model_ids: Sequence[str]) -> dict[str, str]:
    """Return the newest serving version of each model that has one."""
    query = (
        select(Version.model_id, func.max(Version.id))
        .where(Version.model_id.in_(model_ids), Version.state.in_(SERVING_STATES))
        .group_by(Version.model_id)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def downloads(tx: Session, tenant_id: str, version_id: str, page: PageOrder) -> Slice[Download]:
    """List who downloaded a version, latest first."""
    query = select(Download).where(
        Download.tenant_id == tenant_id, Download.version_id == version_id
    )
    return fetch(tx, query, Download.id, page)


def report_of_version(tx: Session, version_id: str) -> Report | None:
    """Return the report of the job that made a version; None for an uploaded one."""
    return tx.scalar(select(Report).where(Report.result_version_id == version_id))
