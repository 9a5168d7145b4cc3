"""The certified unlearning of Warnecke et al. (NDSS 2023) for strongly convex models.

The model was trained with noise in its objective. A first- or second-order update brings it near
the optimum of the same noisy objective on the edited data, for deletions and corrections alike. The
gradient it leaves there acts like a shift of the noise, and noise of deviation sigma hides a shift
up to what epsilon and delta allow. Shifts of successive updates add up; when they would exceed the
budget the model has to be trained again.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from app.unlearning.certified import setting_of
from app.unlearning.certified.training import newton_direction
from app.unlearning.methods.certified_step import Bounds, bounds_of, conclude
from app.unlearning.methods.correction_step import Order
from app.unlearning.methods.method import Method, Need
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.update import Assurance, Update

Charge = Literal["measured", "data_dependent"]


@register("certified_update")
@dataclass(frozen=True)
class CertifiedUpdate(Method):
    """Steps towards the perturbed optimum of the edited data, charged to a budget.

    The claim is the theorem of Guo et al. (ICML 2020) and Warnecke et al.: no outcome is more than
    e^epsilon times as likely, up to delta, as under training on the edited data with fresh noise.
    It treats what an update leaves as a shift that does not itself depend on the noise drawn.
    """

    title: ClassVar[str] = "Certified update of a strongly convex model"
    reference: ClassVar[str] = "Warnecke et al., NDSS 2023; Guo et al., ICML 2020"
    needs: ClassVar[tuple[Need, ...]] = ("retained_rows", "recipe", "perturbed_training")
    assurance: ClassVar[Assurance] = "certified"

    epsilon: float = hyperparameter(
        1.0, "Log of how much likelier any outcome may become.", above=0, maximum=100
    )
    delta: float = hyperparameter(
        1e-5,
        "Probability by which that may fail; well below one in the rows.",
        above=0,
        maximum=0.1,
    )
    order: Order = hyperparameter("second", "Gradient steps or Newton steps.")
    steps: int = hyperparameter(
        1, "Steps; more leave less of the gradient.", minimum=1, maximum=100
    )
    rate: float | None = hyperparameter(
        None,
        "First-order step size on the mean loss; null: the exact minimiser of the local quadratic "
        "model.",
        above=0,
    )
    charge: Charge = hyperparameter(
        "measured",
        "What the budget is charged with: the gradient that is left, measured on every row, or its "
        "bound from the step.",
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update, with the numbers of the proof.

        Raises:
            NotApplicable: The problem does not allow a proof.
            BudgetSpent: The noise does not hide the result; the model has to be trained again.
            NonFinite: A new value is not finite.
        """
        setting = setting_of(problem, self.epsilon, self.delta)
        theta, after = setting.part.theta, setting.after
        gradient = after.gradient(theta)
        untouched = float(gradient.norm())
        bounds: Bounds | None = None
        for number in range(0 if problem.nothing_changes else self.steps):
            if self.order == "second":
                step = newton_direction(after, theta, gradient)
            else:
                rate = self.rate / after.count if self.rate is not None else None
                if rate is None:
                    bend = float((gradient * after.product(theta, gradient)).sum())
                    rate = float(gradient.square().sum()) / bend if bend > 0 else 0.0
                step = -rate * gradient
            if number == self.steps - 1:
                bounds = bounds_of(problem, setting, theta, gradient, step)
            theta = theta + step
            gradient = after.gradient(theta)
            problem.progress((number + 1) / self.steps)
        charged = 0.0
        if bounds is not None:
            charged = getattr(bounds, self.charge)
        return conclude(
            self,
            problem,
            setting,
            theta,
            charged=charged,
            kind=self.charge,
            facts={
                "residual_untouched": untouched,
                "residual": None if bounds is None else bounds.measured,
                "residual_data_dependent_bound": (
                    None if bounds is None else bounds.data_dependent
                ),
                "residual_of_solve_and_rounding": None if bounds is None else bounds.unsolved,
            },
        )
