"""The budget of a certified model: what its noise can hide, and what is spent of it."""

from dataclasses import dataclass

from app.unlearning.certified.gaussian import epsilon_of, largest_shift
from app.unlearning.errors import BudgetSpent
from app.unlearning.update import JSON


@dataclass(frozen=True)
class Promise:
    """What every published version has to keep.

    Attributes:
        epsilon: Log of how much likelier any outcome may become, > 0.
        delta: Probability by which that may fail, in (0, 1).
        deviation: Standard deviation of the noise in the summed objective, > 0.
    """

    epsilon: float
    delta: float
    deviation: float

    @property
    def limit(self) -> float:
        """The largest residual that the noise hides this well."""
        return largest_shift(self.epsilon, self.delta, self.deviation)


@dataclass(frozen=True)
class Spending:
    """An update held against a promise.

    Residuals add up: the gradient left by one update is still there after the next.

    Attributes:
        promise: What has to be kept.
        before: Residual that earlier updates may have left.
        step: Residual that this one may leave.
    """

    promise: Promise
    before: float
    step: float

    @property
    def spent(self) -> float:
        """Everything that may be left."""
        return self.before + self.step

    def require(self) -> None:
        """Check that the promise holds.

        Raises:
            BudgetSpent: It does not; the model has to be trained again.
        """
        limit = self.promise.limit
        if not self.spent <= limit:
            raise BudgetSpent("residual", self.spent, limit)

    def document(self) -> dict[str, JSON]:
        """The numbers for the report, in the units of a summed gradient."""
        promise, limit = self.promise, self.promise.limit
        return {
            "mechanism": "objective_perturbation",
            "epsilon": promise.epsilon,
            "delta": promise.delta,
            "noise": promise.deviation,
            "bound": self.step,
            "spent_before": self.before,
            "spent": self.spent,
            "limit": limit,
            "left": limit - self.spent,
            "epsilon_reached": epsilon_of(promise.delta, self.spent, promise.deviation),
        }
