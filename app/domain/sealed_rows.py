"""The rows a request names, under its data key.

A box is bound to its request, dataset and revision: moved to another place it does not open.
"""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.requests import Request, RequestRows
from app.domain.tenant_keys import data_key_of, is_lost
from app.infra import keys
from app.infra.rows import Overlay

Rows = NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, np.int64)
PURPOSE = "rows"
NOT_ACCEPTED = ("received", "awaiting_identity", "nothing_found", "rejected", "cancelled")


def seal(
    request: Request,
    revision: int,
    *,
    key: bytes,
    rows: Rows,
    corrections: Overlay | None,
    everything: int | None = None,
) -> RequestRows:
    """Make the record of what a request names in one revision.

    Args:
        request: The request.
        revision: Number of the revision of its dataset.
        key: Its data key.
        rows: Ascending distinct row numbers, ``(n,)``.
        corrections: New cells, for a correction.
        everything: Number of present rows when the request concerns every row; ``rows`` is
            not kept then.

    Returns:
        A new record.
    """
    context = _context(request.id, request.dataset_id, revision)
    kept = NO_ROWS if everything is not None else rows
    return RequestRows(
        request_id=request.id,
        dataset_id=request.dataset_id,
        revision=revision,
        tenant_id=request.tenant_id,
        count=len(rows) if everything is None else everything,
        is_everything=everything is not None,
        rows=keys.seal_box(key, kept.astype("<i8").tobytes(), context),
        corrections=None
        if corrections is None
        else keys.seal_box(key, corrections.to_bytes(), f"{context}/cells"),
    )


def reseal(record: RequestRows, corrections: Overlay) -> None:
    """Replace the new cells of a record."""
    context = _context(record.request_id, record.dataset_id, record.revision)
    key = _key_of(record)
    record.corrections = keys.seal_box(key, corrections.to_bytes(), f"{context}/cells")


def rows_of(record: RequestRows) -> Rows:
    """Return the row numbers; empty once they are destroyed, and for every row."""
    if record.rows is None:
        return NO_ROWS
    context = _context(record.request_id, record.dataset_id, record.revision)
    plain = keys.open_box(_key_of(record), record.rows, context)
    return np.frombuffer(plain, "<i8").astype(np.int64)


def corrections_of(record: RequestRows) -> Overlay:
    """Return the new cells; empty for a deletion and once they are destroyed."""
    if record.corrections is None:
        return Overlay()
    context = _context(record.request_id, record.dataset_id, record.revision)
    box = record.corrections
    plain = keys.open_box(_key_of(record), box, f"{context}/cells")
    return Overlay.from_bytes(plain)


def records(
    tx: Session,
    dataset_id: str,
    revision: int,
    kind: str | None = None,
    only: Collection[str] | None = None,
) -> list[RequestRows]:
    """Return what accepted and unfinished requests name in a revision, in their order.

    Args:
        tx: The transaction.
        dataset_id: The dataset.
        revision: Number of the revision.
        kind: Only ``deletion`` or ``correction``.
        only: Ids of the requests asked about instead, whatever has become of them.

    Returns:
        Records whose rows are not destroyed yet, oldest request first. Those that nobody can open,
        after an old database was restored without its keys, do not stand in the way of others.
    """
    query = (
        select(RequestRows)
        .join(Request, Request.id == RequestRows.request_id)
        .where(
            RequestRows.dataset_id == dataset_id,
            RequestRows.revision == revision,
            RequestRows.rows.is_not(None),
            Request.state.not_in(NOT_ACCEPTED) if only is None else Request.id.in_(only),
        )
        .order_by(Request.received_at, Request.id)
    )
    if kind is not None:
        query = query.where(Request.kind == kind)
    return [
        record
        for record in tx.scalars(query)
        if record.commitment is None or not is_lost(record.commitment)
    ]


def union(parts: Iterable[Rows]) -> Rows:
    """Return the distinct rows of all parts, ascending."""
    # numpy's own unique hashes integers, which takes many times as long for a million rows.
    rows = np.sort(np.concatenate([NO_ROWS, *parts]))
    is_first = np.ones(len(rows), bool)
    is_first[1:] = rows[1:] != rows[:-1]
    distinct: Rows = rows[is_first]
    return distinct


def in_force(found: Iterable[RequestRows]) -> Overlay:
    """Return the cells of corrections on top of each other, in the given order."""
    overlay = Overlay()
    for record in found:
        overlay = overlay.merged(corrections_of(record))
    return overlay


def _key_of(record: RequestRows) -> bytes:
    """Return the data key; for records older than data keys, what follows from the master key."""
    key = None if record.commitment is None else data_key_of(record.commitment)
    return keys.derive(record.tenant_id, PURPOSE) if key is None else key


def _context(request_id: str, dataset_id: str, revision: int) -> str:
    return f"{request_id}/{dataset_id}/{revision}"
