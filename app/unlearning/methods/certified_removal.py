"""Certified removal of Guo et al. (ICML 2020): a linear head on features that are fixed.

The features were made without the rows in question (a public network, or none); the head was
trained on them with noise in its objective. One exact Newton step takes the rows out, a bound says
what it may have left, and the bounds of successive removals are charged to a budget. Neither bound
looks at the gradient itself; it is measured all the same and shown beside them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from app.unlearning.certified import setting_of
from app.unlearning.certified.training import newton_direction
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.certified_step import bounds_of, conclude
from app.unlearning.methods.method import Method, Need, RequestKind
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.update import Assurance, Update

Charge = Literal["data_dependent", "worst_case"]


@register("certified_removal")
@dataclass(frozen=True)
class CertifiedRemoval(Method):
    """One Newton step for the rows to remove, charged by a bound.

    The claim is the theorem of the paper: no outcome is more than e^epsilon times as likely, up to
    delta, as under training without the rows with fresh noise. It treats what a step leaves as a
    shift that does not itself depend on the noise drawn.
    """

    title: ClassVar[str] = "Certified removal from a linear head on fixed features"
    reference: ClassVar[str] = "Guo et al., ICML 2020"
    kinds: ClassVar[tuple[RequestKind, ...]] = ("deletion",)
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
    charge: Charge = hyperparameter(
        "data_dependent",
        "What the budget is charged with: the bound from the step and the rows, or the one from "
        "constants alone.",
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update, with the numbers of the proof.

        Raises:
            NotApplicable: Rows are corrected and not removed, or the problem does not allow a
                proof.
            BudgetSpent: The noise does not hide the result; the model has to be trained again.
            NonFinite: A new value is not finite.
        """
        if len(problem.replacement):
            raise NotApplicable("this method removes rows; it does not correct any")
        setting = setting_of(problem, self.epsilon, self.delta)
        theta, after = setting.part.theta, setting.after
        gradient = after.gradient(theta)
        step = newton_direction(after, theta, gradient)
        bounds = bounds_of(problem, setting, theta, gradient, step)
        problem.progress(1.0)
        return conclude(
            self,
            problem,
            setting,
            theta + step,
            charged=getattr(bounds, self.charge),
            kind=self.charge,
            facts={
                "residual_untouched": float(gradient.norm()),
                "residual": bounds.measured,
                "residual_data_dependent_bound": bounds.data_dependent,
                "residual_worst_case_bound": bounds.worst_case,
                "residual_of_solve_and_rounding": bounds.unsolved,
            },
        )
