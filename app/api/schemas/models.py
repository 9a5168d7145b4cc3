"""Models and their policies."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from app.api.schemas.base import Input, Name, Output, Time
from app.domain import catalog
from app.domain.orders import ModelOrder

Count = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=10**9)]
Word = Annotated[str, Field(min_length=1, max_length=60)]


class VerificationIn(Input):
    """What is measured beside the result."""

    reference: Literal["none", "retrain"] = "none"
    controls: Annotated[list[Word], Field(max_length=20)] = []


class BatchingIn(Input):
    """How long a job waits for company, and how many samples end the wait."""

    max_wait_seconds: Seconds = 0
    max_samples: Annotated[int, Field(ge=1, le=10**12)] = 100_000


class BudgetIn(Input):
    """How far a line of versions may go before it is trained again; null: without limit."""

    requests: Annotated[int, Field(ge=0, le=2**53)] | None = None
    share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Rows deleted or corrected, as a share of the training rows."
    )
    drift: Annotated[float, Field(ge=0, le=10**6)] | None = Field(
        default=None, description="Change of the parameters, as a share of their norm."
    )


class PolicyIn(Input):
    """How requests on a model are carried out; what is left out takes its default."""

    method: Word = "auto"
    parameters: Annotated[dict[str, Any], Field(max_length=50)] = {}
    verification: VerificationIn = VerificationIn()
    gates: Annotated[dict[Word, float], Field(max_length=20)] = {"holdout_accuracy_drop": 0.02}
    on_gate_failure: Annotated[list[Literal["retrain", "attention"]], Field(max_length=5)] = [
        "retrain",
        "attention",
    ]
    on_inconclusive: Literal["publish", "attention", "retrain", "fail"] = "publish"
    batching: BatchingIn = BatchingIn()
    withdraw_after_seconds: Seconds = 0
    budget: BudgetIn = BudgetIn()

    def given(self) -> dict[str, Any]:
        """Return only what the client sent; the domain knows the defaults."""
        return self.model_dump(exclude_unset=True)


class PolicyOut(Output):
    """A model's policy, defaults filled in."""

    model_config = ConfigDict(extra="allow")

    method: str
    parameters: dict[str, Any]
    verification: dict[str, Any]
    gates: dict[str, float]
    on_gate_failure: list[str]
    on_inconclusive: str
    batching: dict[str, int | float]
    withdraw_after_seconds: float
    budget: dict[str, int | float | None] = {}


class ModelIn(Input):
    """A new model."""

    name: Name
    policy: PolicyIn | None = None

    def order(self) -> ModelOrder:
        """Return what the domain is asked for."""
        return ModelOrder(self.name, None if self.policy is None else self.policy.given())


class ModelOut(Output):
    """A model."""

    id: str
    name: str
    state: str
    policy: dict[str, Any]
    live_version_id: str | None
    created_at: Time

    @classmethod
    def of(cls, model: catalog.Model, live_version_id: str | None) -> Self:
        """Write a model's document."""
        return cls(
            id=model.id,
            name=model.name,
            state=model.state,
            policy=model.policy,
            live_version_id=live_version_id,
            created_at=model.created_at,
        )
