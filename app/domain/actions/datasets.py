"""Datasets are made, given content and deleted."""

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions.ending import refuse_revision
from app.domain.actions.queueing import enqueue
from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.catalog import Dataset, Revision, Version
from app.domain.errors import Conflict, FieldError
from app.domain.orders import DatasetOrder, Upload
from app.domain.queries.catalog import load
from app.domain.requests import DONE_STATES, Request
from app.domain.texts import refuse_if, text_faults
from app.infra.ids import new_id

MOST_NAME = 200
ROLES = ("id", "subject", "split", "label")
WITHOUT_WEIGHTS = ("withdrawn", "invalid", "rejected")


def create_dataset(tx: Session, actor: Actor, tenant_id: str, order: DatasetOrder) -> Dataset:
    """Make a dataset without content.

    Raises:
        Refused: A name that cannot be one, or one column in two roles.
    """
    faults = text_faults(order.name, "/name", most=MOST_NAME)
    taken: set[str] = set()
    for role in ROLES:
        name = order.columns.get(role)
        if name is None:
            if role == "id":
                faults.append(FieldError("/columns/id", "missing", "is required"))
            continue
        faults += text_faults(name, f"/columns/{role}", most=MOST_NAME)
        if name in taken:
            detail = "is the column of another role"
            faults.append(FieldError(f"/columns/{role}", "column-taken", detail))
        taken.add(name)
    faults += [
        FieldError("/columns", "unknown-role", "takes id, subject, split and label")
        for role in order.columns
        if role not in ROLES
    ]
    refuse_if(faults)
    dataset = Dataset(
        id=new_id("ds"),
        tenant_id=tenant_id,
        state="awaiting_content",
        name=order.name,
        columns={role: order.columns.get(role) for role in ROLES},
    )
    begin(tx, dataset, actor)
    return dataset


def begin_revision(
    tx: Session, tenant_id: str, dataset_id: str, if_match: str | None = None
) -> Upload:
    """Say where the body of a new revision is to be put; nothing is written.

    Raises:
        NotFound: There is no such dataset.
        StaleVersion: It is not the one the caller has read.
        Conflict: ``indexing``: an earlier upload is not imported yet.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id)
    dataset.require_etag(if_match)
    _require_idle(dataset)
    id = new_id("rev")
    return Upload(id, f"uploads/{tenant_id}/{id}")


def finish_revision(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    dataset_id: str,
    upload: Upload,
    *,
    digest: str,
    on_suppressed: Literal["refuse", "drop"] = "refuse",
) -> Revision:
    """Number the uploaded content and queue its import.

    Args:
        tx: The transaction.
        actor: Who uploaded.
        tenant_id: Whose dataset.
        dataset_id: Which dataset.
        upload: What ``begin_revision`` gave out; the body is in the store.
        digest: Of the body, ``sha256:...``.
        on_suppressed: Whether what is suppressed refuses the file or is left out.

    Returns:
        The revision, ``indexing``.

    Raises:
        NotFound: There is no such dataset.
        Conflict: ``indexing``: another upload came first.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id, lock=True)
    _require_idle(dataset)
    revision = _number(tx, actor, dataset, upload, digest=digest, on_suppressed=on_suppressed)
    enqueue(tx, actor, tenant_id=tenant_id, kind="import", revision_id=revision.id)
    return revision


def refuse_content(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    dataset_id: str,
    upload: Upload,
    error: dict[str, Any],
) -> Revision:
    """Number content that its first bytes refuse; none of it was stored, and no job is queued.

    Args:
        tx: The transaction.
        actor: Who uploaded.
        tenant_id: Whose dataset.
        dataset_id: Which dataset.
        upload: What ``begin_revision`` gave out.
        error: Why, see ``app.domain.failures``.

    Returns:
        The revision, ``invalid``.

    Raises:
        NotFound: There is no such dataset.
        Conflict: ``indexing``: another upload came first.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id, lock=True)
    _require_idle(dataset)
    revision = _number(tx, actor, dataset, upload)
    refuse_revision(tx, actor, revision, error)
    return revision


def delete_dataset(
    tx: Session, actor: Actor, tenant_id: str, dataset_id: str, if_match: str | None = None
) -> Dataset:
    """Delete a dataset; a job destroys its row files.

    Raises:
        NotFound: There is no such dataset.
        StaleVersion: It is not the one the caller has read.
        Conflict: ``in-use``: weights trained on it exist, or a request on it is not done.
    """
    dataset = load(tx, Dataset, tenant_id, dataset_id, lock=True)
    dataset.require_etag(if_match)
    versions = select(Version.id).where(
        Version.dataset_id == dataset.id, Version.state.not_in(WITHOUT_WEIGHTS)
    )
    if tx.scalar(versions.limit(1)) is not None:
        raise Conflict("A version trained on it is not withdrawn", code="in-use")
    requests = select(Request.id).where(
        Request.dataset_id == dataset.id, Request.state.not_in(DONE_STATES)
    )
    if tx.scalar(requests.limit(1)) is not None:
        raise Conflict("A request on it is not done", code="in-use")
    _require_idle(dataset)
    for revision in tx.scalars(select(Revision).where(Revision.dataset_id == dataset.id)):
        if revision.state == "ready":
            move(tx, revision, "deleted", actor)
            enqueue(tx, actor, tenant_id=tenant_id, kind="withdraw", revision_id=revision.id)
    move(tx, dataset, "deleted", actor)
    return dataset


def _number(
    tx: Session,
    actor: Actor,
    dataset: Dataset,
    upload: Upload,
    *,
    digest: str | None = None,
    on_suppressed: str = "refuse",
) -> Revision:
    """Begin the next revision; one without a digest has nothing in the store."""
    dataset.last_revision += 1
    move(tx, dataset, "indexing", actor, revision=dataset.last_revision)
    revision = Revision(
        id=upload.id,
        tenant_id=dataset.tenant_id,
        state="indexing",
        dataset_id=dataset.id,
        number=dataset.last_revision,
        digest=digest,
        on_suppressed=on_suppressed,
        upload_key=None if digest is None else upload.key,
    )
    begin(tx, revision, actor, digest=digest)
    return revision


def _require_idle(dataset: Dataset) -> None:
    if dataset.state == "indexing":
        raise Conflict("An earlier upload is not imported yet", code="indexing")
