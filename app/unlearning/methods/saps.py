"""Update only the parameters that the curvature of the learned model singles out.

SAPS (sharpness-aware parameter selection, arXiv 2504.06398) takes the diagonal of the Hessian of
the training loss at the learned parameters and lets the unlearning stage change only the selected
ones. The selection does not depend on the request, so it can be made beforehand.

What of this is our reading: the abstract names the *largest* entries, digests of the body the
*smallest*; both are offered, neither is called the published one. The diagonal is that of the
Gauss-Newton matrix, which is the Hessian's on piecewise linear networks and never negative;
``estimator`` takes the Hessian's own. Without a diagonal kept with the version it is taken on the
rows the network was trained on. The steps in the selection are those of Warnecke et al. (NDSS
2023), which the paper builds on, normalised to means, the curvature on the edited data; damping by
a path, and the refusal of a step that raises the edited loss, are ours. So are the budgets for each
tensor or layer: the paper ranks all scalars together, and most of them then lie in the last layer.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from app.unlearning.methods.by_curvature import ByCurvature
from app.unlearning.methods.correction_step import Order, correct
from app.unlearning.methods.curvature_at_hand import CurvatureAtHand, curvature_at_hand
from app.unlearning.methods.damped_newton import Solving
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import Budget, Selection, budget_count, select_extreme
from app.unlearning.truncation import truncate
from app.unlearning.update import Update


@register("saps")
@dataclass(frozen=True)
class Saps(ByCurvature):
    """Correct the scalars of largest (or smallest) diagonal curvature, to first or second order.

    gamma and the steps are those of Warnecke et al. (NDSS 2023), normalised to means; see
    :mod:`app.unlearning.methods.correction_step`.
    """

    title: ClassVar[str] = "Sharpness-aware parameter selection (SAPS)"
    reference: ClassVar[str] = "arXiv 2504.06398; steps of Warnecke et al., NDSS 2023"

    fraction: float = hyperparameter(
        0.05, "Share of the trainable scalars that may change.", minimum=0, maximum=1
    )
    select: Literal["largest", "smallest"] = hyperparameter(
        "largest", "Which diagonal curvature entries are selected."
    )
    budget: Budget = hyperparameter(
        "global", "Rank all scalars together, or give each layer or tensor its share."
    )
    order: Order = hyperparameter("second", "A gradient step or a damped Newton step.")
    steps: int = hyperparameter(1, "Most steps.", minimum=1, maximum=100)
    rate: float | None = hyperparameter(
        None,
        "First-order step size on the mean loss, halved until the edited loss falls; null: the "
        "exact minimiser of the local quadratic model.",
        above=0,
    )
    damping: float = hyperparameter(
        1e-2, "Smallest damping tried, in units of the curvature along the correction.", minimum=0
    )
    curvature_rows: int = hyperparameter(
        256, "Rows of a uniform sample on which the curvature of a step is taken.", minimum=1
    )
    max_products: int = hyperparameter(
        10, "Most curvature products for each damping.", minimum=1, maximum=10_000
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update; empty if no step lowers the edited loss.

        Raises:
            NonFinite: The curvature or a new value is not finite.
        """
        diagonal, selection = self._select(problem)
        negative = sum(int((v < 0).sum()) for v in diagonal.values.values())
        steps = 0 if problem.nothing_changes or not selection.names else self.steps
        found = correct(
            truncate(problem, selection.names),
            selection,
            order=self.order,
            steps=steps,
            rate=self.rate,
            damping=self.damping,
            curvature_rows=self.curvature_rows,
            how=Solving(max_products=self.max_products),
        )
        return self.update(
            problem,
            found.theta,
            selected=selection.count,
            gradient_evaluations=diagonal.gradient_evaluations + found.gradient_evaluations,
            diagnostics={
                "estimator": diagonal.estimator,
                "curvature_fallbacks": list(diagonal.fallbacks),
                "negative_curvature_share": negative / max(1, problem.parameter_count),
                "steps": found.steps,
                "sizes": list(found.sizes),
                "edited_loss_before": found.loss_before,
                "edited_loss_after": found.loss_after,
            },
        )

    def _select(self, problem: Problem) -> tuple[CurvatureAtHand, Selection]:
        """Rank the whole network's diagonal by signed value, whatever the request is."""
        diagonal = curvature_at_hand(
            problem, tuple(problem.parameters), rows=problem.original, how=self.estimating
        )
        count = budget_count(self.fraction, problem.parameter_count)
        largest = self.select == "largest"
        selection = select_extreme(diagonal.values, count, budget=self.budget, largest=largest)
        return diagonal, selection.touched()
