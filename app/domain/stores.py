"""The row files of a dataset's revisions, as the domain opens them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Dataset, Revision
from app.domain.errors import Conflict
from app.infra.rows import RowStore
from app.infra.settings import settings

READY = "ready"


def ready_revisions(tx: Session, dataset: Dataset) -> list[Revision]:
    """Return the revisions whose rows can be read, oldest first.

    Raises:
        Conflict: ``dataset-not-ready``: there is none.
    """
    query = select(Revision).where(Revision.dataset_id == dataset.id, Revision.state == READY)
    found = list(tx.scalars(query.order_by(Revision.number)))
    if not found:
        raise Conflict("The dataset has no usable content yet", code="dataset-not-ready")
    return found


def folder_of(revision: Revision) -> Path:
    """Return where a revision's row files are."""
    return settings().rows_folder / revision.folder


@contextmanager
def opened(revision: Revision) -> Iterator[RowStore]:
    """Map the row files of a ready revision for reading."""
    with RowStore.open(folder_of(revision)) as store:
        yield store
