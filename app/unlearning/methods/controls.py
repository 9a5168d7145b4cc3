"""Controls: the same update on coordinates that were not chosen for a reason.

Measured beside a result when a policy asks for it, so that a reader sees what the choice of the
coordinates was worth.
"""

from dataclasses import dataclass
from typing import ClassVar

from app.unlearning.methods.masked_minimisation import Solver, minimise, suited
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Selection,
    budget_count,
    last_layer,
    random_scores,
    select_extreme,
)
from app.unlearning.truncation import truncate
from app.unlearning.update import Update


@register("random_mask", control=True)
@dataclass(frozen=True)
class RandomMask(Method):
    """The sparse update on scalars drawn at random from the whole network."""

    title: ClassVar[str] = "Random selection (control)"
    reference: ClassVar[str] = "Control of equal size"

    fraction: float = hyperparameter(
        0.05, "Share of the trainable scalars that may change.", minimum=0, maximum=1
    )
    solver: Solver = hyperparameter("auto", "As for sparse_newton.")

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update.

        Raises:
            NonFinite: A new value is not finite.
        """
        count = budget_count(self.fraction, problem.parameter_count)
        scores = random_scores(problem.parameters, problem.generator_seed)
        return _sparse_update(self, problem, select_extreme(scores, count), self.solver)


@register("last_layer", control=True)
@dataclass(frozen=True)
class LastLayer(Method):
    """The sparse update on all parameters of the last layer that has any."""

    title: ClassVar[str] = "Last layer only (control)"
    reference: ClassVar[str] = "Baseline of arXiv 2504.06398"

    solver: Solver = hyperparameter("auto", "As for sparse_newton.")

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update.

        Raises:
            NonFinite: A new value is not finite.
        """
        return _sparse_update(self, problem, last_layer(problem.model), self.solver)


def _sparse_update(
    method: Method, problem: Problem, selection: Selection, solver: Solver
) -> Update:
    selection = selection.touched()
    if problem.nothing_changes or not selection.names:
        return method.update(
            problem,
            {},
            selected=selection.count,
            gradient_evaluations=0,
            rows_read=0,
            diagnostics={"steps": 0},
        )
    solver = suited(solver, problem)
    if solver == "optimum":
        problem = problem.with_all_retained()
    minimum = minimise(
        truncate(problem, selection.names),
        selection,
        solver=solver,
        iterations=None,
        damping=1e-2,
        learning_rate=1e-2,
        batch_size=128,
        progress=problem.progress,
    )
    return method.update(
        problem,
        minimum.values,
        selected=selection.count,
        gradient_evaluations=minimum.gradient_evaluations,
        diagnostics={
            "solver": minimum.solver,
            "steps": minimum.steps,
            "edited_loss_before": minimum.loss_before,
            "edited_loss_after": minimum.loss_after,
        },
    )
