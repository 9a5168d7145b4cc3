"""What a request forbids to come back is written down, as keyed digests."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from app.domain.naming import Named
from app.domain.naming_cells import NamedCells
from app.domain.requests import Request
from app.domain.suppression import Suppression, digest_of, value_digests
from app.infra import clock

BATCH = 20_000


def suppress_rows(tx: Session, request: Request, named: Named) -> None:
    """Suppress every sample of a deletion and the subjects it was asked by.

    Unknown ids too: they were asked for, and must not arrive later.
    """
    wanted = {
        ("sample", True): named.sample_ids,
        ("sample", False): named.unknown_samples,
        ("subject", True): named.known_subjects,
        ("subject", False): named.unknown_subjects,
    }
    for (kind, is_known), ids in wanted.items():
        entries = (
            {
                "kind": kind,
                "digest": digest_of(request.tenant_id, request.dataset_id, kind, id),
                "is_known": is_known,
            }
            for id in ids
        )
        _insert(tx, request, entries)


def suppress_cells(tx: Session, request: Request, cells: NamedCells) -> None:
    """Suppress the old values of a correction, and what a removed column held."""
    place = (request.tenant_id, request.dataset_id)
    values = (
        {
            "kind": "value",
            "digest": digest,
            "sample_digest": digest_of(*place, "sample", sample_id),
            "column": column,
            "is_known": True,
        }
        for sample_id, column, value in cells.old
        for digest in value_digests(place, sample_id, column, value)
    )
    _insert(tx, request, values)
    columns = (
        {
            "kind": "column",
            "digest": digest_of(*place, "column", column),
            "column": column,
            "replacement": {"value": value},
            "is_known": True,
        }
        for column, value in cells.removed
    )
    _insert(tx, request, columns)


def lift(tx: Session, request: Request) -> None:
    """Take back what this request suppressed; entries of other requests stay."""
    tx.execute(delete(Suppression).where(Suppression.request_id == request.id))


def _insert(tx: Session, request: Request, entries: Iterator[dict[str, Any]]) -> None:
    common = {
        "tenant_id": request.tenant_id,
        "dataset_id": request.dataset_id,
        "request_id": request.id,
        "created_at": clock.now(),
    }
    # The bare table: a class deletion may be large, and nobody needs the objects.
    table = Suppression.metadata.tables[Suppression.__tablename__]
    while part := list(islice(entries, BATCH)):
        tx.execute(insert(table), [{**common, **entry} for entry in part])
