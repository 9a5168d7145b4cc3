"""What a request forbids to come back is written down, as keyed digests."""

from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from app.domain.naming import Named
from app.domain.naming_cells import NamedCells
from app.domain.requests import Request
from app.domain.suppression import Suppression, digest_of
from app.infra import clock

BATCH = 20_000


def suppress_rows(tx: Session, request: Request, named: Named) -> int:
    """Suppress every sample of a deletion and the subjects it was asked by.

    Unknown ids too: they were asked for, and must not arrive later.

    Returns:
        The number of entries written.
    """
    wanted = {
        ("sample", True): named.sample_ids,
        ("sample", False): named.unknown_samples,
        ("subject", True): named.known_subjects,
        ("subject", False): named.unknown_subjects,
    }
    entries = [
        {
            "kind": kind,
            "digest": digest_of(request.tenant_id, request.dataset_id, kind, id),
            "is_known": is_known,
        }
        for (kind, is_known), ids in wanted.items()
        for id in ids
    ]
    return _insert(tx, request, entries)


def suppress_cells(tx: Session, request: Request, cells: NamedCells) -> int:
    """Suppress the old values of a correction, and what a removed column held.

    Returns:
        The number of entries written.
    """
    place = (request.tenant_id, request.dataset_id)
    entries: list[dict[str, Any]] = [
        {
            "kind": "value",
            "digest": digest_of(*place, "value", sample_id, column, value),
            "sample_digest": digest_of(*place, "sample", sample_id),
            "column": column,
        }
        for sample_id, column, value in cells.old
    ]
    entries += [
        {
            "kind": "column",
            "digest": digest_of(*place, "column", column),
            "column": column,
            "replacement": {"value": value},
        }
        for column, value in cells.removed
    ]
    return _insert(tx, request, entries)


def lift(tx: Session, request: Request) -> None:
    """Take back what this request suppressed; entries of other requests stay."""
    tx.execute(delete(Suppression).where(Suppression.request_id == request.id))


def _insert(tx: Session, request: Request, entries: list[dict[str, Any]]) -> int:
    common = {
        "tenant_id": request.tenant_id,
        "dataset_id": request.dataset_id,
        "request_id": request.id,
        "created_at": clock.now(),
    }
    blank = {"sample_digest": None, "column": None, "replacement": None, "is_known": True}
    for start in range(0, len(entries), BATCH):
        part = [{**common, **blank, **entry} for entry in entries[start : start + BATCH]]
        tx.execute(insert(Suppression), part)
    return len(entries)
