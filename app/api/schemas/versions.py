"""Versions of a model, their reports and their downloads."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.api.schemas.base import Input, Name, Output, Time, id_of
from app.api.schemas.failures import problem_of
from app.domain import catalog, reports
from app.domain.orders import VersionOrder

Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Document = Annotated[dict[str, Any], Field(max_length=200)]
UNDECIDED = ("awaiting_weights", "validating")
"""States in which nobody has said yet whether the weights can be used."""


class PerturbationIn(Input):
    """Noise in the training objective, as certified deletion needs it.

    A vector b of independent normal numbers was drawn, and its product with the trained parameters
    was added to the sum over the rows of loss plus weight decay.
    """

    standard_deviation: Annotated[float, Field(gt=0, le=10**12)]
    gradient_norm: Annotated[float, Field(ge=0, le=10**12)] = Field(
        description="At most the norm of the gradient of that sum at the uploaded weights."
    )


class RecipeIn(Input):
    """How the weights were trained, so that training can be repeated."""

    optimizer: Literal["sgd", "adam", "adamw", "lbfgs"]
    learning_rate: Annotated[float, Field(gt=0, le=10**6)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_size: Positive | None = Field(default=None, description="Not used by lbfgs.")
    epochs: Positive
    seed: Seed = 0
    schedule: Literal["constant", "cosine"] = "constant"
    initialisation_seed: Seed = 0
    trained: Literal["all", "last_layer"] = Field(
        default="all",
        description="last_layer: the layers before it were never fitted to these rows.",
    )
    perturbation: PerturbationIn | None = None


class VersionIn(Input):
    """A new version, still without weights."""

    dataset_id: Annotated[str, id_of("ds")]
    dataset_revision: Positive | None = Field(default=None, description="The newest ready one.")
    parent_id: Annotated[str, id_of("mv")] | None = None
    training_split: Name | None = None
    holdout_split: Name | None = None
    architecture: Document = Field(description='`{"builder": ..., "config": ...}`')
    inputs: Document = Field(description='`{"kind": ..., ...}`')
    objective: Literal[
        "cross_entropy", "binary_cross_entropy", "mean_squared_error", "causal_language_model"
    ]
    weight_decay: Annotated[float, Field(ge=0, le=10**6)] = 0.0
    recipe: RecipeIn | None = None

    def order(self) -> VersionOrder:
        """Return what the domain is asked for."""
        fields = {name: getattr(self, name) for name in VersionIn.model_fields}
        recipe = None if self.recipe is None else self.recipe.model_dump(exclude_unset=True)
        return VersionOrder(**{**fields, "recipe": recipe})


class VersionOut(Output):
    """A version."""

    id: str
    model_id: str
    state: str
    done: bool
    digest: str | None
    parent_id: str | None
    dataset_id: str
    dataset_revision: int
    training_split: str | None
    holdout_split: str | None
    architecture: dict[str, Any]
    inputs: dict[str, Any]
    objective: str
    weight_decay: float
    recipe: dict[str, Any] | None
    baseline: dict[str, Any] | None
    report: dict[str, Any] | None
    parameters: int | None
    produced_by_job_id: str | None
    created_at: Time
    superseded_by: str | None
    withdrawn_at: Time | None
    error: dict[str, Any] | None

    @classmethod
    def of(cls, version: catalog.Version, report: reports.Report | None) -> Self:
        """Write a version's document; ``report`` is that of the job that made it."""
        plain = cls.model_fields.keys() - {"done", "error", "report"}
        return cls(
            **{name: getattr(version, name) for name in plain},
            done=version.state not in UNDECIDED,
            error=problem_of(version.error),
            report=None if report is None else report.document,
        )


class DownloadOut(Output):
    """One download: who, when, which digest."""

    id: str
    api_key_id: str
    digest: str
    byte_range: str | None
    time: Time

    @classmethod
    def of(cls, download: catalog.Download) -> Self:
        """Write a download's document."""
        return cls(
            id=download.id,
            api_key_id=download.api_key_id,
            digest=download.digest,
            byte_range=download.byte_range,
            time=download.time,
        )
