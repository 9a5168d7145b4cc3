"""Hyperparameters of the methods that rank scalars by a diagonal curvature."""

from dataclasses import dataclass

from app.unlearning.curvature.precision import Precision
from app.unlearning.methods.curvature_at_hand import Estimating, Wanted
from app.unlearning.methods.method import Method
from app.unlearning.methods.schema import hyperparameter


@dataclass(frozen=True)
class ByCurvature(Method):
    """A method that ranks scalars by a diagonal curvature."""

    estimator: Wanted = hyperparameter(
        "auto",
        "Diagonal curvature to rank by: exact Gauss-Newton, its estimate by random signs or by "
        "drawn labels, the empirical Fisher matrix, or the Hessian by random probes (an audit). "
        "Auto: the one kept with the version, else the first where that is cheap, else the second.",
    )
    draws: int | None = hyperparameter(
        None,
        "Random vectors for each row, or probes in all, of an estimate; null: 1, and 100 probes.",
        minimum=1,
        maximum=100_000,
    )
    precision: Precision | None = hyperparameter(
        None,
        "Of float32 products in a diagonal that is computed for the request: highest is float32, "
        "medium multiplies in bfloat16 where the processor can; null: the worker's own.",
    )

    @property
    def estimating(self) -> Estimating:
        """Which diagonal to rank by."""
        return Estimating(self.estimator, self.draws, self.precision)
