"""Datasets and their revisions, models, versions with lineage, downloads."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.domain import audit
from app.domain.base import Entity, Moves, moves
from app.infra import clock
from app.infra.db import Base, JsonDocument, UtcDateTime

SERVING_STATES = ("live", "tainted")
TARGETED_STATES = ("validating", "candidate", "live", "tainted")


class Dataset(Entity):
    """A named set of rows with numbered revisions.

    States: ``awaiting_content, indexing, ready, invalid`` and, hidden from clients, ``deleted``.
    """

    __tablename__ = "datasets"
    KIND: ClassVar[str] = "dataset"
    MOVES: ClassVar[Moves] = moves(
        awaiting_content="indexing deleted",
        indexing="ready invalid",
        ready="indexing deleted",
        invalid="indexing deleted",
    )

    name: Mapped[str] = mapped_column(String(200))
    columns: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    revision: Mapped[int | None]
    """The newest ready one."""
    last_revision: Mapped[int] = mapped_column(default=0)


class Revision(Entity):
    """One upload of a dataset's content. States: ``indexing, ready, invalid, deleted``."""

    __tablename__ = "revisions"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)
    KIND: ClassVar[str] = "revision"
    MOVES: ClassVar[Moves] = moves(indexing="ready invalid deleted", ready="deleted", invalid="")

    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int]
    digest: Mapped[str | None] = mapped_column(String(80))
    rows: Mapped[int | None] = mapped_column(BigInteger)
    splits: Mapped[dict[str, int] | None] = mapped_column(JsonDocument)
    columns: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonDocument)
    """Column specifications as the row store reports them."""
    erased_rows: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    on_suppressed: Mapped[str] = mapped_column(String(10), default="refuse")
    upload_key: Mapped[str | None] = mapped_column(String(300))
    """The uploaded Parquet in the object store; destroyed once imported or refused."""

    def links(self) -> audit.Links:
        """Name the dataset and the number."""
        return audit.Links(facts={"dataset_id": self.dataset_id, "revision": self.number})

    @property
    def folder(self) -> str:
        """Folder of the row files, below ``settings.rows_folder``."""
        return f"{self.tenant_id}/{self.dataset_id}/{self.number}"


class Model(Entity):
    """A neural network a tenant registers; owns the policy. States: ``active, deleted``."""

    __tablename__ = "models"
    KIND: ClassVar[str] = "model"
    MOVES: ClassVar[Moves] = moves(active="deleted")

    name: Mapped[str] = mapped_column(String(200))
    policy: Mapped[dict[str, Any]] = mapped_column(JsonDocument)


class Version(Entity):
    """One immutable set of weights of a model; its states are those of the HTTP contract.

    A version that a request reached before its weights were validated (see ``VersionTaint``)
    becomes ``tainted``, not ``live``.
    """

    __tablename__ = "versions"
    __table_args__ = (Index("ix_versions_dataset", "dataset_id", "dataset_revision"),)
    KIND: ClassVar[str] = "version"
    MOVES: ClassVar[Moves] = moves(
        awaiting_weights="validating withdrawn",
        validating="live tainted invalid withdrawn",
        invalid="withdrawn",
        candidate="live tainted rejected withdrawn",
        live="tainted superseded withdrawn",
        tainted="live superseded withdrawn",
        superseded="withdrawn",
        rejected="withdrawn",
    )

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), index=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    dataset_revision: Mapped[int]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"), index=True)
    produced_by_job_id: Mapped[str | None] = mapped_column(String(40))
    training_split: Mapped[str | None] = mapped_column(Text)
    holdout_split: Mapped[str | None] = mapped_column(Text)
    architecture: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    inputs: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    objective: Mapped[str] = mapped_column(String(40))
    weight_decay: Mapped[float] = mapped_column(default=0.0)
    recipe: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    digest: Mapped[str | None] = mapped_column(String(80))
    size: Mapped[int | None] = mapped_column(BigInteger)
    weights_key: Mapped[str | None] = mapped_column(String(300))
    """Where the weights lie in the object store; None once destroyed."""
    curvature: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    """Record of the stored diagonal: ``key, digest, estimator, rows, draws, seed``."""
    baseline: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    superseded_by: Mapped[str | None] = mapped_column(String(40))
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def links(self) -> audit.Links:
        """Name the version itself, its model and the digest of its weights once they are there."""
        facts = {"model_id": self.model_id}
        if self.digest is not None:
            facts["digest"] = self.digest
        return audit.Links(version_id=self.id, facts=facts)


class VersionTaint(Base):
    """A request concerns rows this version was trained on (itself or through an ancestor)."""

    __tablename__ = "version_taints"

    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)


class Download(Base):
    """One download of a version's weights: who, when, which digest."""

    __tablename__ = "downloads"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    api_key_id: Mapped[str] = mapped_column(String(40))
    digest: Mapped[str] = mapped_column(String(80))
    byte_range: Mapped[str | None] = mapped_column(String(100))
    time: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)
