"""Versions are registered, receive their weights, are downloaded and withdrawn."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.actions.ending import destroy_weights, release_targets
from app.domain.actions.queueing import advance, enqueue, ring_waiting
from app.domain.actions.taints import taint
from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.catalog import Dataset, Download, Model, Version, VersionTaint
from app.domain.declarations import checked_version
from app.domain.errors import Conflict, FieldError, Gone, NotFound
from app.domain.jobs import JOB_DONE_STATES, Job
from app.domain.lineage import NamedRows
from app.domain.orders import Upload, VersionOrder
from app.domain.queries.catalog import load
from app.domain.queries.catalog import version as load_version
from app.domain.requests import Request
from app.domain.sealed_rows import records, rows_of
from app.domain.stores import ready_revisions
from app.domain.texts import refuse_if
from app.infra import clock
from app.infra.ids import new_id

OFFERED_STATES = ("live", "tainted")
UNDONE = ("cancelled", "rejected", "nothing_found")
"""Ends of a request that leave its rows where they were."""


def create_version(
    tx: Session, actor: Actor, tenant_id: str, model_id: str, order: VersionOrder
) -> Version:
    """Register a version before its weights are uploaded.

    Requests that are not finished and concern its training rows, or the version it was
    fine-tuned from, concern it from now on.

    Args:
        tx: The transaction.
        actor: Who registers it.
        tenant_id: Whose model.
        model_id: Which model.
        order: What is declared.

    Returns:
        The version, ``awaiting_weights``.

    Raises:
        NotFound: There is no such model or dataset.
        Conflict: ``dataset-not-ready``.
        Refused: A declaration that is wrong or does not fit the dataset.
    """
    model = load(tx, Model, tenant_id, model_id, lock=True)
    dataset = load(tx, Dataset, tenant_id, order.dataset_id)
    revisions = {revision.number: revision for revision in ready_revisions(tx, dataset)}
    number = max(revisions) if order.dataset_revision is None else order.dataset_revision
    if number not in revisions:
        detail = "is no usable revision"
        refuse_if([FieldError("/dataset_revision", "unknown-revision", detail)])
    if order.parent_id is not None:
        _require_parent(tx, tenant_id, order.parent_id)
    declared = checked_version(order, dataset, revisions[number])
    version = Version(
        id=new_id("mv"),
        tenant_id=tenant_id,
        state="awaiting_weights",
        model_id=model.id,
        dataset_id=dataset.id,
        dataset_revision=number,
        parent_id=order.parent_id,
        training_split=order.training_split,
        holdout_split=order.holdout_split,
        architecture=dict(order.architecture),
        inputs=dict(order.inputs),
        objective=order.objective,
        weight_decay=order.weight_decay,
        recipe=declared.recipe,
        parameters=declared.parameters,
    )
    begin(tx, version, actor)
    _taint_on_arrival(tx, actor, version)
    return version


def begin_weights(
    tx: Session, tenant_id: str, model_id: str, version_id: str, if_match: str | None = None
) -> Upload:
    """Say where a version's weights are to be put; nothing is written.

    Raises:
        NotFound: There is no such version.
        StaleVersion: It is not the one the caller has read.
        Conflict: ``weights-already-uploaded``.
        Gone: It was withdrawn.
    """
    version = load_version(tx, tenant_id, model_id, version_id)
    version.require_etag(if_match)
    _require_awaiting(version)
    id = new_id("rev")
    return Upload(id, f"weights/{tenant_id}/{model_id}/{version_id}/upload-{id}.safetensors")


def finish_weights(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    model_id: str,
    version_id: str,
    upload: Upload,
    *,
    digest: str,
    size: int,
) -> Version:
    """Give a version its uploaded weights and queue their validation.

    Args:
        tx: The transaction.
        actor: Who uploaded.
        tenant_id: Whose model.
        model_id: Which model.
        version_id: Which version.
        upload: What ``begin_weights`` gave out; the body is in the store.
        digest: Of the body, ``sha256:...``.
        size: Of the body in bytes.

    Returns:
        The version, ``validating``.

    Raises:
        NotFound: There is no such version.
        Conflict: ``weights-already-uploaded``: another upload came first.
        Gone: It was withdrawn.
    """
    load(tx, Version, tenant_id, version_id, lock=True)
    version = load_version(tx, tenant_id, model_id, version_id)
    _require_awaiting(version)
    version.weights_key = upload.key
    version.digest = digest
    version.size = size
    move(tx, version, "validating", actor, digest=digest, size=size)
    enqueue(tx, actor, tenant_id=tenant_id, kind="validate", version_id=version.id)
    return version


def withdraw_version(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    model_id: str,
    version_id: str,
    if_match: str | None = None,
) -> Version:
    """Withdraw a version for its owner; a job destroys its weights.

    Raises:
        NotFound: There is no such version.
        StaleVersion: It is not the one the caller has read.
        Conflict: It is withdrawn already.
    """
    load(tx, Version, tenant_id, version_id, lock=True)
    version = load_version(tx, tenant_id, model_id, version_id)
    version.require_etag(if_match)
    withdraw(tx, actor, version)
    return version


def withdraw(tx: Session, actor: Actor, version: Version) -> None:
    """Withdraw a version at once: nothing is left to unlearn from it.

    Its jobs end, a running one by losing its fence; open targets are fulfilled.
    """
    version.withdrawn_at = clock.database_now(tx)
    move(tx, version, "withdrawn", actor)
    release_targets(tx, actor, version)
    jobs = select(Job).where(
        Job.version_id == version.id, Job.state.not_in(JOB_DONE_STATES), Job.kind != "withdraw"
    )
    for job in tx.scalars(jobs):
        advance(tx, job, "cancelled", actor, reason="version-withdrawn")
    destroy_weights(tx, actor, version)
    ring_waiting(tx, version.tenant_id)


def require_offered(version: Version) -> None:
    """Let only versions pass whose weights may be downloaded.

    Raises:
        Gone: It was withdrawn.
        Conflict: ``weights-not-offered``: its state offers none.
    """
    if version.state == "withdrawn":
        raise Gone
    if version.state not in OFFERED_STATES or version.weights_key is None:
        raise Conflict(
            f"The weights of a version in state {version.state} are not offered",
            code="weights-not-offered",
        )


def record_download(
    tx: Session, actor: Actor, version: Version, byte_range: str | None = None
) -> Download:
    """Note who downloads a version's weights, before the first byte leaves.

    Raises:
        Gone: It was withdrawn.
        Conflict: ``weights-not-offered``.
    """
    require_offered(version)
    download = Download(
        id=new_id("dl"),
        tenant_id=version.tenant_id,
        version_id=version.id,
        api_key_id=actor.id,
        digest=version.digest or "",
        byte_range=None if byte_range is None else byte_range[:100],
    )
    tx.add(download)
    tx.flush()
    return download


def _require_parent(tx: Session, tenant_id: str, parent_id: str) -> None:
    try:
        load(tx, Version, tenant_id, parent_id)
    except NotFound:
        refuse_if([FieldError("/parent_id", "unknown-version", "is no version of the tenant")])


def _require_awaiting(version: Version) -> None:
    if version.state == "withdrawn":
        raise Gone
    if version.state != "awaiting_weights":
        raise Conflict("The version has its weights", code="weights-already-uploaded")


def _taint_on_arrival(tx: Session, actor: Actor, version: Version) -> None:
    """Mark a new version with the requests that concern its rows or its parent."""
    place = (version.dataset_id, version.dataset_revision)
    revision = next(
        found
        for found in ready_revisions(tx, tx.get_one(Dataset, version.dataset_id))
        if found.number == version.dataset_revision
    )
    requests = set()
    for record in records(tx, *place):
        named = NamedRows({revision: None if record.is_everything else rows_of(record)})
        if len(named.within(revision.number, version.training_split)):
            requests.add(record.request_id)
    if version.parent_id is not None:
        requests.update(
            tx.scalars(
                select(VersionTaint.request_id)
                .join(Request, Request.id == VersionTaint.request_id)
                .where(VersionTaint.version_id == version.parent_id, Request.state.not_in(UNDONE))
            )
        )
    for request_id in sorted(requests):
        taint(tx, actor, version, tx.get_one(Request, request_id))
