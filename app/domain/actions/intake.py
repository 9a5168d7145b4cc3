"""A request comes in: found, suppressed, targeted and queued in one transaction.

From its commit on the rows cannot come back in a new revision, every version that holds
their influence is marked, and the work is in the queue. Then the caller has an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain import commitments, gate
from app.domain.actions import suppressing
from app.domain.actions.settling import settle
from app.domain.actions.taints import add_target, taint
from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.catalog import TARGETED_STATES, Dataset, Model, Revision
from app.domain.deadlines import REGULATIONS, due_at
from app.domain.errors import FieldError
from app.domain.estimates import estimated_seconds
from app.domain.lineage import NamedRows, Reached, reached
from app.domain.naming import Named, check_deletion, name_deletion
from app.domain.naming_cells import NamedCells, check_correction, name_correction
from app.domain.orders import CorrectionOrder, DeletionOrder, Preview, PreviewTarget
from app.domain.queries.catalog import load
from app.domain.requests import Request
from app.domain.sealed_rows import NO_ROWS, seal
from app.domain.stores import opened, ready_revisions
from app.domain.texts import refuse_if, text_faults
from app.infra import clock
from app.infra.ids import new_id
from app.infra.rows import ColumnSpec

MOST_REFERENCE = 300
EARLIEST_YEAR, LATEST_YEAR = 1900, 9000
MARKED_STATES = (*TARGETED_STATES, "awaiting_weights", "superseded")


@dataclass(frozen=True)
class _Found:
    """What an order names, and in what."""

    dataset: Dataset
    named: Named
    cells: NamedCells | None

    def reached(self, tx: Session) -> list[Reached]:
        """Return the versions concerned that still have, or will have, weights."""
        if self.named.is_nothing:
            return []
        found = reached(tx, self.dataset.id, NamedRows(self.named.rows))
        return [item for item in found if item.version.state in MARKED_STATES]


def submit_deletion(tx: Session, actor: Actor, tenant_id: str, order: DeletionOrder) -> Request:
    """Accept a deletion.

    Args:
        tx: The transaction; the caller commits it before answering.
        actor: Who asks.
        tenant_id: Whose dataset.
        order: What is to be forgotten.

    Returns:
        The request: ``scheduled``, ``withdrawing`` (rows no version was trained on) or
        ``nothing_found``.

    Raises:
        NotFound: There is no such dataset.
        Conflict: ``dataset-not-ready``.
        Refused: The order names nothing, or does not fit the dataset.
    """
    gate.enter(tx, tenant_id)
    found = _find_deletion(tx, tenant_id, order)
    request = _receive(tx, actor, found, order)
    suppressing.suppress_rows(tx, request, found.named)
    return _accept(tx, actor, request, found, order)


def submit_correction(tx: Session, actor: Actor, tenant_id: str, order: CorrectionOrder) -> Request:
    """Accept a correction.

    Args:
        tx: The transaction; the caller commits it before answering.
        actor: Who asks.
        tenant_id: Whose dataset.
        order: The new cells.

    Returns:
        The request, as for a deletion.

    Raises:
        NotFound: There is no such dataset.
        Conflict: ``dataset-not-ready``.
        Refused: The order names nothing, an unknown column or a value of a wrong type.
    """
    gate.enter(tx, tenant_id)
    found = _find_correction(tx, tenant_id, order)
    request = _receive(tx, actor, found, order)
    if found.cells is not None:
        suppressing.suppress_cells(tx, request, found.cells)
    return _accept(tx, actor, request, found, order)


def preview_deletion(tx: Session, tenant_id: str, order: DeletionOrder) -> Preview:
    """Say what a deletion would do; nothing is stored. Raises as ``submit_deletion``."""
    return _preview(tx, _find_deletion(tx, tenant_id, order))


def preview_correction(tx: Session, tenant_id: str, order: CorrectionOrder) -> Preview:
    """Say what a correction would do; nothing is stored. Raises as ``submit_correction``."""
    return _preview(tx, _find_correction(tx, tenant_id, order))


def _find_deletion(tx: Session, tenant_id: str, order: DeletionOrder) -> _Found:
    dataset = load(tx, Dataset, tenant_id, order.dataset_id)
    revisions = ready_revisions(tx, dataset)
    _check_terms(order)
    check_deletion(_columns(revisions[-1]), dataset, order)
    return _Found(dataset, name_deletion(tx, dataset, revisions, order), None)


def _find_correction(tx: Session, tenant_id: str, order: CorrectionOrder) -> _Found:
    dataset = load(tx, Dataset, tenant_id, order.dataset_id)
    revisions = ready_revisions(tx, dataset)
    _check_terms(order)
    columns = {revision.number: _columns(revision) for revision in revisions}
    check_correction(dataset, columns, order)
    cells = name_correction(tx, dataset, revisions, order)
    return _Found(dataset, cells.named, cells)


def _check_terms(order: DeletionOrder | CorrectionOrder) -> None:
    faults = []
    if order.regulation not in REGULATIONS:
        detail = f"takes one of {', '.join(REGULATIONS)}"
        faults.append(FieldError("/regulation", "unknown-regulation", detail))
    if order.reference is not None:
        faults += text_faults(order.reference, "/reference", most=MOST_REFERENCE, least=0)
    time = order.submitted_at
    if time is not None and not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        faults.append(FieldError("/submitted_at", "out-of-range", "is no plausible year"))
    if time is not None and time.tzinfo is None:
        faults.append(FieldError("/submitted_at", "no-zone", "takes a time with its offset"))
    refuse_if(faults)


def _columns(revision: Revision) -> Sequence[ColumnSpec]:
    return [ColumnSpec.from_json(column) for column in revision.columns or ()]


def _receive(
    tx: Session, actor: Actor, found: _Found, order: DeletionOrder | CorrectionOrder
) -> Request:
    received_at = clock.database_now(tx)
    request = Request(
        id=new_id("req"),
        tenant_id=found.dataset.tenant_id,
        state="received",
        kind="deletion" if found.cells is None else "correction",
        correction_kind=None if found.cells is None else found.cells.kind,
        dataset_id=found.dataset.id,
        regulation=order.regulation,
        reference=order.reference,
        submitted_at=order.submitted_at,
        received_at=received_at,
        due_at=due_at(order.regulation, received_at, order.submitted_at),
        counts=found.named.counts,
    )
    begin(tx, request, actor, kind=request.kind, regulation=order.regulation)
    return request


def _accept(
    tx: Session,
    actor: Actor,
    request: Request,
    found: _Found,
    order: DeletionOrder | CorrectionOrder,
) -> Request:
    members = commitments.members_of(found.named)
    key, committed = commitments.keep(tx, request, order, members)
    if found.named.is_nothing:
        request.complete(clock.database_now(tx))
        move(tx, request, "nothing_found", actor, counts=found.named.counts, **committed)
        return request
    _keep_rows(tx, request, found, key)
    move(tx, request, "accepted", actor, counts=found.named.counts, **committed)
    targets = 0
    for item in found.reached(tx):
        taint(tx, actor, item.version, request)
        if item.version.state in TARGETED_STATES:
            add_target(tx, actor, request, item.version, item.rows)
            targets += 1
    if targets:
        move(tx, request, "scheduled", actor, targets=targets)
    else:
        settle(tx, actor, request)
    return request


def _keep_rows(tx: Session, request: Request, found: _Found, key: bytes) -> None:
    for revision, rows in found.named.rows.items():
        overlay = None if found.cells is None else found.cells.overlays[revision]
        everything = None
        if rows is None:
            if not overlay:
                continue
            with opened(revision) as store:
                everything = store.rows - store.erased_rows
        elif not len(rows):
            continue
        tx.add(
            seal(
                request,
                revision.number,
                key=key,
                rows=NO_ROWS if rows is None else rows,
                corrections=overlay,
                everything=everything,
            )
        )
    tx.flush()


def _preview(tx: Session, found: _Found) -> Preview:
    targets = []
    for item in found.reached(tx):
        if item.version.state not in TARGETED_STATES:
            continue
        policy = tx.get_one(Model, item.version.model_id).policy
        targets.append(
            PreviewTarget(
                version_id=item.version.id,
                model_id=item.version.model_id,
                rows=item.rows,
                method=policy["method"],
                estimated_seconds=estimated_seconds(tx, item.version, policy["method"]),
            )
        )
    return Preview(found.named.counts, tuple(targets))
