"""Registers for the law: what was asked and answered, and what is done with whose data.

Requests: what Cal. Code Regs. tit. 11, section 7101(b) wants kept of each (date, nature and
manner of the request, date and nature of the response, basis of a denial), which shows what
GDPR Art. 5(2) wants shown, too. Processing: what GDPR Art. 30 wants recorded of each activity,
here the training of a model on a dataset, as far as the service knows it; purposes, parties
and transfers are the controller's to add.

No ids of samples or people, and no reference of the controller's: it may hold a name.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.catalog import SERVING_STATES, Dataset, Download, Model, Revision, Version
from app.domain.log import IssuedCertificate, Leaf
from app.domain.requests import Request, Target
from app.infra import clock

RESPONSES = {
    "fulfilled": "complied with in whole",
    "partially_fulfilled": "complied with in part",
    "nothing_found": "no such data held",
    "rejected": "denied",
    "cancelled": "cancelled by the requester",
}
"""What the end of a request is to the law; every other state is open."""
NOT_STATED = "not stated"
SAFEGUARDS = (
    "people only as keyed hashes in the log; row numbers and new values encrypted under a key of"
    " the tenant; rows and old weights destroyed after each request; downloads recorded"
)


@dataclass(frozen=True)
class RequestRecord:
    """One request; the fields are the columns of the register, in order."""

    request_id: str
    regulation: str
    right: str
    manner: str
    submitted_at: datetime | None
    received_at: datetime
    due_at: datetime | None
    responded_at: datetime | None
    days_to_respond: int | None
    overdue: bool
    response: str
    basis_of_denial: str
    samples: int
    unknown: int
    already_deleted: int
    versions_reached: int
    versions_remade: int
    certificate_sha256: str
    log_index: int | None


@dataclass(frozen=True)
class ProcessingRecord:
    """One model and one dataset it was trained on; the fields are the columns, in order."""

    model_id: str
    model: str
    dataset_id: str
    dataset: str
    data_categories: str
    people_identified: bool
    rows_held: int
    rows_erased: int
    versions: int
    versions_serving: int
    first_used_at: datetime
    last_used_at: datetime
    recipients: int
    downloads: int
    erased_after_seconds: float
    safeguards: str
    purpose: str = ""
    controller: str = ""
    transfers: str = ""


@dataclass(frozen=True)
class Period:
    """Which requests: received from a time on, and before another."""

    since: datetime | None = None
    until: datetime | None = None
    regulation: str | None = None


def requests(
    tx: Session, tenant_id: str, period: Period, after: str | None, limit: int
) -> list[RequestRecord]:
    """Return the next records of the register of requests, oldest first.

    Args:
        tx: The transaction.
        tenant_id: Whose requests.
        period: Which of them.
        after: Id of the last request of the part before; None for the first part.
        limit: How many records.

    Returns:
        The records; fewer than ``limit`` at the end.
    """
    query = select(Request).where(Request.tenant_id == tenant_id)
    if after is not None:
        query = query.where(Request.id > after)
    if period.since is not None:
        query = query.where(Request.received_at >= period.since)
    if period.until is not None:
        query = query.where(Request.received_at < period.until)
    if period.regulation is not None:
        query = query.where(Request.regulation == period.regulation)
    found = list(tx.scalars(query.order_by(Request.id).limit(limit)))
    ids = [request.id for request in found]
    reached = _reached(tx, ids)
    certified = _certified(tx, ids)
    stated = _stated_reasons(tx, ids)
    now = clock.now()
    return [
        replace(
            _record(one, reached[one.id], certified.get(one.id), now),
            basis_of_denial=_basis(one, reached[one.id], stated.get(one.id)),
        )
        for one in found
    ]


def processing(
    tx: Session, tenant_id: str, after: str | None, limit: int
) -> list[ProcessingRecord]:
    """Return the next records of the register of processing, by model.

    Args:
        tx: The transaction.
        tenant_id: Whose models.
        after: Id of the last model of the part before; None for the first part.
        limit: How many models.

    Returns:
        The records of the next models that have versions; none at the end.
    """
    query = select(Version.model_id).where(Version.tenant_id == tenant_id)
    if after is not None:
        query = query.where(Version.model_id > after)
    models = list(tx.scalars(query.distinct().order_by(Version.model_id).limit(limit)))
    serving = func.sum(case((Version.state.in_(SERVING_STATES), 1), else_=0))
    used = (
        select(
            Version.model_id,
            Version.dataset_id,
            func.count(),
            serving,
            func.min(Version.created_at),
            func.max(Version.created_at),
        )
        .where(Version.model_id.in_(models))
        .group_by(Version.model_id, Version.dataset_id)
        .order_by(Version.model_id, Version.dataset_id)
    )
    rows = tx.execute(used).all()
    names = {one.id: one for one in tx.scalars(select(Model).where(Model.id.in_(models)))}
    datasets = _datasets(tx, {row[1] for row in rows})
    taken = _taken(tx, models)
    return [
        ProcessingRecord(
            model_id=model_id,
            model=names[model_id].name,
            dataset_id=dataset_id,
            versions=count,
            versions_serving=serves,
            first_used_at=first,
            last_used_at=last,
            recipients=taken[model_id, dataset_id][0],
            downloads=taken[model_id, dataset_id][1],
            erased_after_seconds=names[model_id].policy["withdraw_after_seconds"],
            safeguards=SAFEGUARDS,
            **datasets[dataset_id],
        )
        for model_id, dataset_id, count, serves, first, last in rows
    ]


def _record(
    request: Request, reached: Sequence[str], certificate: tuple[str, int] | None, now: datetime
) -> RequestRecord:
    start = min(request.received_at, request.submitted_at or request.received_at)
    ended, due = request.completed_at, request.due_at
    digest, index = certificate or ("", None)
    return RequestRecord(
        request_id=request.id,
        regulation=request.regulation,
        right="erasure" if request.kind == "deletion" else "correction",
        manner="HTTP interface",
        submitted_at=request.submitted_at,
        received_at=request.received_at,
        due_at=due,
        responded_at=ended,
        days_to_respond=None if ended is None else (ended - start).days,
        overdue=due is not None and (ended or now) > due,
        response=RESPONSES.get(request.state, "open"),
        basis_of_denial="",
        samples=request.counts.get("samples", 0),
        unknown=request.counts.get("unknown", 0),
        already_deleted=request.counts.get("already_deleted", 0),
        versions_reached=len(reached),
        versions_remade=sum(state == "fulfilled" for state in reached),
        certificate_sha256=digest,
        log_index=index,
    )


def _basis(request: Request, reached: Sequence[str], stated: str | None) -> str:
    """Return why a request was not complied with, in whole or in part (Art. 12(4), too).

    The service denies nothing by itself: either there is nothing, or a person has decided.
    """
    if request.state == "nothing_found":
        return "no data is held under what was named"
    if request.state == "partially_fulfilled":
        left = sum(state == "cancelled" for state in reached)
        return f"{left} of {len(reached)} versions were left as they were: cancelled by a person"
    if request.state == "rejected":
        return stated or NOT_STATED
    return ""


def _stated_reasons(tx: Session, request_ids: Sequence[str]) -> dict[str, str]:
    """Return the reasons that the log states for rejections."""
    query = select(AuditEntry.request_id, AuditEntry.facts).where(
        AuditEntry.request_id.in_(request_ids), AuditEntry.type == "request.rejected"
    )
    return {
        request_id: str(facts["reason"])
        for request_id, facts in tx.execute(query)
        if request_id is not None and "reason" in facts
    }


def _reached(tx: Session, request_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the states of each request's targets."""
    states: dict[str, list[str]] = defaultdict(list)
    query = select(Target.request_id, Target.state).where(Target.request_id.in_(request_ids))
    for request_id, state in tx.execute(query):
        states[request_id].append(state)
    return states


def _certified(tx: Session, request_ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return the digest of each request's first certificate, and where the log holds it."""
    query = (
        select(IssuedCertificate.request_id, IssuedCertificate.sha256, Leaf.index)
        .join(Leaf, Leaf.entry_id == IssuedCertificate.entry_id)
        .where(IssuedCertificate.request_id.in_(request_ids), IssuedCertificate.number == 0)
    )
    return {request_id: (digest, index) for request_id, digest, index in tx.execute(query)}


def _datasets(tx: Session, dataset_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the columns of the register that are about datasets."""
    wanted = list(dataset_ids)
    query = (
        select(Dataset, Revision)
        .join(
            Revision,
            (Revision.dataset_id == Dataset.id) & (Revision.number == Dataset.revision),
            isouter=True,
        )
        .where(Dataset.id.in_(wanted))
    )
    lost = (
        select(Revision.dataset_id, func.max(Revision.erased_rows))
        .where(Revision.dataset_id.in_(wanted))
        .group_by(Revision.dataset_id)
    )
    erased = {dataset_id: rows for dataset_id, rows in tx.execute(lost)}  # noqa: C416 - rows are no pairs to mypy
    return {
        dataset.id: _of_dataset(dataset, revision, erased.get(dataset.id, 0))
        for dataset, revision in tx.execute(query)
    }


def _of_dataset(dataset: Dataset, revision: Revision | None, erased: int) -> dict[str, Any]:
    held = 0 if revision is None else (revision.rows or 0) - revision.erased_rows
    return {
        "dataset": dataset.name,
        "data_categories": "; ".join(_categories(dataset, revision)),
        "people_identified": dataset.columns.get("subject") is not None,
        "rows_held": held,
        "rows_erased": erased,
    }


def _categories(dataset: Dataset, revision: Revision | None) -> list[str]:
    """Return the names of the columns that describe people, not those that only name rows."""
    roles = {dataset.columns.get(role) for role in ("id", "subject", "split")}
    columns = [] if revision is None else revision.columns or []
    names = [str(column["name"]) for column in columns]
    return [name for name in names if name not in roles]


def _taken(tx: Session, model_ids: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many keys have downloaded weights, and how often, by model and dataset."""
    taken: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    query = (
        select(
            Version.model_id,
            Version.dataset_id,
            func.count(Download.api_key_id.distinct()),
            func.count(),
        )
        .join(Version, Version.id == Download.version_id)
        .where(Version.model_id.in_(model_ids))
        .group_by(Version.model_id, Version.dataset_id)
    )
    for model_id, dataset_id, keys, count in tx.execute(query):
        taken[model_id, dataset_id] = (keys, count)
    return taken
