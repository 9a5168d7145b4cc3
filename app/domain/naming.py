"""Which rows an order names, counted by sample and found in every ready revision."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Dataset, Revision
from app.domain.errors import FieldError
from app.domain.orders import DeletionOrder
from app.domain.sealed_rows import NO_ROWS, Rows, union
from app.domain.stores import opened
from app.domain.suppression import Suppression, digest_of
from app.domain.texts import refuse_if, text_faults
from app.infra.rows import ColumnSpec, WrongType

LONGEST_ID = 2**16
LOOKUP_CHUNK = 5000
"""Digests per query; SQLite takes at most 32,766 parameters."""


@dataclass(frozen=True)
class Named:
    """What an order names.

    Attributes:
        rows: Ascending distinct row numbers by revision; None for every row.
        sample_ids: Ids of these rows, distinct; left empty when it is every row.
        known_subjects: Subjects asked for that have rows.
        unknown_samples: Ids asked for that name no row.
        unknown_subjects: Subjects asked for that have no row.
        counts: ``samples, unknown, already_deleted``.
    """

    rows: dict[Revision, Rows | None]
    sample_ids: tuple[str, ...]
    known_subjects: tuple[str, ...]
    unknown_samples: tuple[str, ...]
    unknown_subjects: tuple[str, ...]
    counts: dict[str, int]

    @property
    def is_nothing(self) -> bool:
        """Tell whether no row is named at all."""
        return self.counts["samples"] == 0


def name_deletion(
    tx: Session, dataset: Dataset, revisions: Sequence[Revision], order: DeletionOrder
) -> Named:
    """Find the rows of a deletion by sample, subject and label.

    Args:
        tx: The transaction.
        dataset: The dataset.
        revisions: Its ready revisions.
        order: What is asked; already checked.

    Returns:
        What it names.
    """
    asked = list(dict.fromkeys(order.sample_ids))
    subjects = list(dict.fromkeys(order.subject_ids))
    is_known = np.zeros(len(asked), bool)
    has_rows = np.zeros(len(subjects), bool)
    rows: dict[Revision, Rows | None] = {}
    ids: dict[str, None] = {}
    for revision in revisions:
        with opened(revision) as store:
            found = store.find(asked) if asked else NO_ROWS
            is_known |= found >= 0
            parts = [found[found >= 0]]
            if subjects:
                theirs, known = store.find_subjects(subjects)
                has_rows |= known
                parts.append(theirs)
            if order.labels and store.roles.label is not None:
                parts.append(store.with_labels(order.labels))
            rows[revision] = here = union(parts)
            ids.update(dict.fromkeys(store.ids(here)))
    unknown_samples = [id for id, known in zip(asked, is_known, strict=True) if not known]
    unknown_subjects = [id for id, known in zip(subjects, has_rows, strict=True) if not known]
    deleted = count_deleted(tx, dataset, "sample", unknown_samples)
    deleted += count_deleted(tx, dataset, "subject", unknown_subjects)
    unknown = len(unknown_samples) + len(unknown_subjects) - deleted
    return Named(
        rows=rows,
        sample_ids=tuple(ids),
        known_subjects=tuple(id for id in subjects if id not in set(unknown_subjects)),
        unknown_samples=tuple(unknown_samples),
        unknown_subjects=tuple(unknown_subjects),
        counts={"samples": len(ids), "unknown": unknown, "already_deleted": deleted},
    )


def count_deleted(tx: Session, dataset: Dataset, kind: str, ids: Iterable[str]) -> int:
    """Count the ids without a row that had one until a deletion erased it."""
    digests = [digest_of(dataset.tenant_id, dataset.id, kind, id) for id in ids]
    found: set[bytes] = set()
    for start in range(0, len(digests), LOOKUP_CHUNK):
        query = select(Suppression.digest).where(
            Suppression.dataset_id == dataset.id,
            Suppression.kind == kind,
            Suppression.is_known,
            Suppression.digest.in_(digests[start : start + LOOKUP_CHUNK]),
        )
        found.update(tx.scalars(query))
    return len(found)


def check_deletion(columns: Sequence[ColumnSpec], dataset: Dataset, order: DeletionOrder) -> None:
    """Refuse an order that does not fit the dataset.

    Raises:
        Refused: With the fields at fault; ``empty-request`` when it names nothing.
    """
    if not (order.sample_ids or order.subject_ids or order.labels):
        faults = [FieldError("", "empty-request", "names no sample, subject or label")]
        refuse_if(faults, "empty-request")
    faults = id_faults(order.sample_ids, "/sample_ids")
    faults += id_faults(order.subject_ids, "/subject_ids")
    if order.subject_ids and dataset.columns.get("subject") is None:
        faults.append(FieldError("/subject_ids", "no-subject-column", "the dataset has none"))
    label = dataset.columns.get("label")
    spec = next((spec for spec in columns if spec.name == label), None)
    if order.labels and spec is None:
        faults.append(FieldError("/labels", "no-label-column", "the dataset has none"))
    elif spec is not None:
        for position, value in enumerate(order.labels):
            faults += cell_faults(spec, value, f"/labels/{position}")
    refuse_if(faults)


def id_faults(ids: Iterable[str], pointer: str) -> list[FieldError]:
    """Return which ids cannot be ids at all."""
    faults = []
    for position, id in enumerate(ids):
        faults += text_faults(id, f"{pointer}/{position}", most=LONGEST_ID, least=0)
    return faults


def cell_faults(spec: ColumnSpec, value: object, pointer: str) -> list[FieldError]:
    """Return whether a value does not fit its column."""
    try:
        spec.check(value)
    except WrongType as error:
        return [FieldError(pointer, "wrong-type", f"takes {error.expected}")]
    return []
