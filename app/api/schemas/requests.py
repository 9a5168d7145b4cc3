"""Deletions, corrections and what becomes of them."""

from collections.abc import Sequence
from typing import Annotated, Literal, NotRequired, Self

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from app.api.schemas.base import Cell, Input, Name, Output, Scalar, Text, Time, id_of
from app.domain import requests
from app.domain.orders import (
    UNSET,
    Correction,
    CorrectionOrder,
    DeletionOrder,
    FeatureRemoval,
    Preview,
)
from app.domain.queries.requests import TargetView

Regulation = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9_-]+$")]
Reference = Annotated[str, Field(min_length=1, max_length=300)]
RequestState = Literal[
    "received",
    "awaiting_identity",
    "accepted",
    "on_hold",
    "scheduled",
    "running",
    "publishing",
    "withdrawing",
    "needs_attention",
    "fulfilled",
    "partially_fulfilled",
    "nothing_found",
    "rejected",
    "cancelled",
]
RequestKind = Literal["deletion", "correction"]


class Intake(Input):
    """What deletions and corrections have in common."""

    dataset_id: Annotated[str, id_of("ds")]
    regulation: Regulation = Field(default="none", description="gdpr, ccpa or none.")
    submitted_at: Time | None = Field(default=None, description="When the person asked.")
    reference: Reference | None = Field(default=None, description="The controller's case.")


class DeletionIn(Intake):
    """Samples to be forgotten; at least one list must name something."""

    sample_ids: list[Text] = []
    subject_ids: list[Text] = []
    labels: list[Scalar] = Field(default=[], description="Whole classes.")

    def order(self) -> DeletionOrder:
        """Return what the domain is asked for."""
        return DeletionOrder(
            self.dataset_id,
            tuple(self.sample_ids),
            tuple(self.subject_ids),
            tuple(self.labels),
            self.regulation,
            self.submitted_at,
            self.reference,
        )


@with_config(ConfigDict(extra="forbid", strict=True))
class CorrectionItem(TypedDict):
    """New values of one sample: a label, features, or both.

    A dict and not a model: there may be a million of them in a body.
    """

    sample_id: Text
    label: NotRequired[Scalar]
    features: NotRequired[Annotated[dict[Name, Cell], Field(max_length=2000)]]


class FeatureRemovalIn(Input):
    """Columns whose values are replaced by one value; null ids: in every row."""

    columns: Annotated[list[Name], Field(min_length=1, max_length=2000)]
    sample_ids: list[Text] | None = None
    value: Cell = None

    def order(self) -> FeatureRemoval:
        """Return what the domain is asked for."""
        ids = None if self.sample_ids is None else tuple(self.sample_ids)
        return FeatureRemoval(tuple(self.columns), ids, self.value)


class CorrectionIn(Intake):
    """New values; ``corrections``, ``feature_removal``, or both."""

    corrections: list[CorrectionItem] = []
    feature_removal: FeatureRemovalIn | None = None

    def order(self) -> CorrectionOrder:
        """Return what the domain is asked for."""
        return CorrectionOrder(
            self.dataset_id,
            tuple(
                Correction(item["sample_id"], item.get("label", UNSET), item.get("features", {}))
                for item in self.corrections
            ),
            None if self.feature_removal is None else self.feature_removal.order(),
            self.regulation,
            self.submitted_at,
            self.reference,
        )


class CountsOut(Output):
    """How many distinct samples a request concerns; ids are never repeated."""

    model_config = ConfigDict(extra="allow")

    samples: int
    unknown: int
    already_deleted: int


class TargetOut(Output):
    """One affected version and what became of it."""

    version_id: str
    model_id: str
    state: str
    job_id: str | None
    job_ids: list[str]
    result_version_id: str | None

    @classmethod
    def of(cls, view: TargetView) -> Self:
        """Write a target's document."""
        return cls(
            version_id=view.target.first_version_id,
            model_id=view.target.model_id,
            state=view.target.state,
            job_id=view.job_ids[-1] if view.job_ids else None,
            job_ids=view.job_ids,
            result_version_id=view.target.result_version_id,
        )


class RequestOut(Output):
    """A request and how far it is."""

    id: str
    kind: str
    state: str
    done: bool
    dataset_id: str
    regulation: str
    reference: str | None
    submitted_at: Time | None
    received_at: Time
    due_at: Time | None
    completed_at: Time | None
    counts: CountsOut
    targets: list[TargetOut]
    certificate: str | None

    @classmethod
    def of(
        cls, request: requests.Request, targets: Sequence[TargetView], *, is_certified: bool
    ) -> Self:
        """Write a request's document; ``certificate`` is null until there is one."""
        return cls(
            id=request.id,
            kind=request.kind,
            state=request.state,
            done=request.is_done,
            dataset_id=request.dataset_id,
            regulation=request.regulation,
            reference=request.reference,
            submitted_at=request.submitted_at,
            received_at=request.received_at,
            due_at=request.due_at,
            completed_at=request.completed_at,
            counts=CountsOut(**request.counts),
            targets=[TargetOut.of(view) for view in targets],
            certificate=f"/v1/requests/{request.id}/certificate" if is_certified else None,
        )


class PlannedTarget(Output):
    """One version a request would reach."""

    version_id: str
    model_id: str
    rows: int
    method: str
    estimated_seconds: float | None


class PreviewOut(Output):
    """What a request would do; nothing is stored."""

    counts: CountsOut
    targets: list[PlannedTarget]

    @classmethod
    def of(cls, preview: Preview) -> Self:
        """Write a preview's document."""
        return cls(
            counts=CountsOut(**preview.counts),
            targets=[
                PlannedTarget(
                    version_id=target.version_id,
                    model_id=target.model_id,
                    rows=target.rows,
                    method=target.method,
                    estimated_seconds=target.estimated_seconds,
                )
                for target in preview.targets
            ],
        )


class SearchIn(Input):
    """Filters of a search; the reference travels in the body, never in a URL."""

    state: RequestState | None = None
    kind: RequestKind | None = None
    regulation: Regulation | None = None
    due_before: Time | None = None
    model_id: Annotated[str, id_of("mdl")] | None = None
    reference: Reference | None = None
