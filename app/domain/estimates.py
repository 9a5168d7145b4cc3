"""How long a job may take, for previews."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Revision, Version
from app.domain.methods import AUTO
from app.domain.reports import Report

REMEMBERED = 5
START_SECONDS = 2.0
"""Loading, measuring and storing a small model."""

SECONDS_PER_PARAMETER_ROW = 1e-9
"""One thread of a common CPU makes about a thousand million multiply-adds in a second."""


def estimated_seconds(tx: Session, version: Version, method: str) -> float:
    """Guess the seconds of a job from the latest ones on the model, or from its size.

    Args:
        tx: The transaction.
        version: What would be worked on.
        method: By which method; ``auto`` counts every method.

    Returns:
        Wall time, without waiting in the queue.
    """
    query = (
        select(Report.seconds)
        .join(Version, Version.id == Report.version_id)
        .where(Version.model_id == version.model_id)
    )
    if method != AUTO:
        query = query.where(Report.method == method)
    seconds = list(tx.scalars(query.order_by(Report.id.desc()).limit(REMEMBERED)))
    if seconds:
        return sum(seconds) / len(seconds)
    rows = tx.scalar(
        select(Revision.rows).where(
            Revision.dataset_id == version.dataset_id,
            Revision.number == version.dataset_revision,
        )
    )
    work = (version.parameters or 0) * (rows or 0)
    return START_SECONDS + SECONDS_PER_PARAMETER_ROW * work
