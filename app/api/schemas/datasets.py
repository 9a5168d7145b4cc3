"""Datasets and their revisions."""

from typing import Any, Self

from pydantic import Field

from app.api.schemas.base import Input, Name, Output, Time
from app.api.schemas.failures import problem_of
from app.domain import catalog
from app.domain.orders import DatasetOrder


class ColumnsIn(Input):
    """Which columns play which part."""

    id: Name = Field(description="The sample id; unique, not null.")
    subject: Name | None = Field(default=None, description="The person a row is about.")
    split: Name | None = Field(default=None, description="Such as train and test.")
    label: Name | None = None


class DatasetIn(Input):
    """A new dataset, still without content."""

    name: Name
    columns: ColumnsIn

    def order(self) -> DatasetOrder:
        """Return what the domain is asked for."""
        return DatasetOrder(self.name, self.columns.model_dump())


class DatasetOut(Output):
    """A dataset. ``revision`` is the newest ready one, ``last_revision`` the newest upload."""

    id: str
    name: str
    columns: dict[str, str | None]
    state: str
    revision: int | None
    last_revision: int
    created_at: Time

    @classmethod
    def of(cls, dataset: catalog.Dataset) -> Self:
        """Write a dataset's document."""
        return cls(
            id=dataset.id,
            name=dataset.name,
            columns=dataset.columns,
            state=dataset.state,
            revision=dataset.revision,
            last_revision=dataset.last_revision,
            created_at=dataset.created_at,
        )


class RevisionOut(Output):
    """One upload of a dataset's content."""

    dataset_id: str
    revision: int
    state: str
    done: bool
    digest: str | None
    rows: int | None
    splits: dict[str, int] | None
    columns: list[dict[str, Any]] | None
    erased_rows: int
    error: dict[str, Any] | None
    created_at: Time

    @classmethod
    def of(cls, revision: catalog.Revision) -> Self:
        """Write a revision's document."""
        return cls(
            dataset_id=revision.dataset_id,
            revision=revision.number,
            state=revision.state,
            done=revision.state != "indexing",
            digest=revision.digest,
            rows=revision.rows,
            splits=revision.splits,
            columns=revision.columns,
            erased_rows=revision.erased_rows,
            error=problem_of(revision.error),
            created_at=revision.created_at,
        )
