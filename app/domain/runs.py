"""What each run depended on, kept so that it can be run again and compared.

The record is plain facts: digests, names, seeds, counts, the machine. What it says of rows are
keyed digests, whose two keys lie beside it, sealed: one for what the run leaves behind (retained
rows, corrected ones, held-out ones), one for what goes when its requests end (rows as they were).
A key is destroyed with the first row that a digest under it is about, so that nothing can be
guessed from the record; the run cannot be repeated from then on.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.domain.sealed_rows import Rows
from app.infra import clock, keys
from app.infra.db import Base, JsonDocument, UtcDateTime

PURPOSE = "runs"
PASSING = ("forget", "untouched")
"""Rows whose digests are under the key that goes first; all others are under the other."""


class RunRecord(Base):
    """What one job ran on. ``document``: see ``workers.recording``."""

    __tablename__ = "run_records"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    document: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the document's canonical JSON; logged when the job succeeds."""
    lasting_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    passing_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    replaced: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Sealed row numbers that came back corrected, where the run trained again on all rows."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    @property
    def in_force(self) -> frozenset[str]:
        """Ids of the requests that the run knew of: it read nothing that these change later."""
        return frozenset(self.document["requests"]["in_force"])

    def reads(self, dataset_id: str, revision: int | None = None) -> bool:
        """Tell whether the run read rows of a data set, or of one of its revisions."""
        return any(
            item["dataset_id"] == dataset_id and revision in {None, item["revision"]}
            for item in self.document["data"]
        )


def facts_of(tx: Session, job_id: str) -> dict[str, str]:
    """Return what the log is told of a job's record; nothing if it has none."""
    record = tx.get(RunRecord, job_id)
    return {} if record is None else {"run_sha256": record.sha256}


def seal_key(tenant_id: str, job_id: str, key: bytes, name: str) -> bytes:
    """Seal a key of a record; ``name`` is ``lasting`` or ``passing``."""
    return keys.seal_box(keys.derive(tenant_id, PURPOSE), key, f"{job_id}/{name}")


def open_key(record: RunRecord, name: str) -> bytes | None:
    """Return a key of a record; None once it is destroyed."""
    box = record.lasting_key if name == "lasting" else record.passing_key
    if box is None:
        return None
    return keys.open_box(keys.derive(record.tenant_id, PURPOSE), box, f"{record.job_id}/{name}")


def seal_rows(tenant_id: str, job_id: str, rows: Mapping[tuple[str, int], Rows]) -> bytes:
    """Seal row numbers by data set and revision."""
    listed = [[*place, numbers.tolist()] for place, numbers in rows.items()]
    key = keys.derive(tenant_id, PURPOSE)
    return keys.seal_box(key, json.dumps(listed).encode(), f"{job_id}/rows")


def open_rows(record: RunRecord) -> dict[tuple[str, int], Rows]:
    """Return the row numbers that came back corrected; none once they are destroyed."""
    if record.replaced is None:
        return {}
    key = keys.derive(record.tenant_id, PURPOSE)
    listed = json.loads(keys.open_box(key, record.replaced, f"{record.job_id}/rows"))
    return {(id, revision): np.array(numbers, np.int64) for id, revision, numbers in listed}
