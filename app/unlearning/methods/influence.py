"""Correct all parameters by the influence of the affected rows.

Koh and Liang (2017) estimate the effect of leaving rows out by one Newton step; Warnecke et al.
(NDSS 2023) extend it to corrected rows and a first-order variant. The curvature is that of the
edited data. Where the objective is convex the steps are exact and repeated to the optimum, unless
one of the paper's own solvers is asked for: the exact solve or the recursion LiSSA, whose
convergence is checked afterwards and reported.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from app.unlearning.convexity import is_convex
from app.unlearning.double_precision import in_float64
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.methods.correction_step import Order, correct
from app.unlearning.methods.damped_newton import LinearSolver, Recursive, solving
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import Selection
from app.unlearning.update import JSON, Update


@register("influence")
@dataclass(frozen=True)
class Influence(Method):
    """First or second order on all parameters; for convex models to the edited optimum.

    A convex model is solved to float64 on every retained row that can be opened. Its distance to
    the optimum is then at most ``gradient_norm / weight_decay`` plus the rounding to the network's
    dtype, and reported as such. The assurance stays empirical: a small distance to what retraining
    finds is not a bound on what the parameters reveal.
    """

    title: ClassVar[str] = "Influence update on all parameters"
    reference: ClassVar[str] = "Koh and Liang 2017; Warnecke et al., NDSS 2023"

    order: Order = hyperparameter("second", "Gradient steps or Newton steps.")
    solver: LinearSolver = hyperparameter(
        "auto",
        "How a Newton step is solved for: exact (the whole curvature is formed; up to 2048 "
        "scalars), lissa (by products alone), or whatever suits the size. Auto takes a convex "
        "model on to its optimum; the others stop after the steps asked for.",
    )
    steps: int | None = hyperparameter(
        None,
        "Most steps; null: 500 for a convex model to its optimum, otherwise one.",
        minimum=1,
        maximum=1000,
    )
    rate: float | None = hyperparameter(
        None,
        "First-order step size on the mean loss, halved until the edited loss falls; null: the "
        "exact minimiser of the local quadratic model.",
        above=0,
    )
    damping: float = hyperparameter(
        1e-2,
        "Smallest damping tried on a network, in units of the curvature along the correction.",
        minimum=0,
    )
    tolerance: float = hyperparameter(
        1e-9,
        "Gradient norm of the mean objective at which a convex model is at its optimum.",
        above=0,
    )
    accuracy: float | None = hyperparameter(
        None,
        "Share of the way made that may be left, by an estimate, where a convex model stops even "
        "if the gradient is larger than the tolerance; null: the tolerance alone decides.",
        above=0,
        maximum=1,
    )
    curvature_rows: int = hyperparameter(
        256,
        "Rows of a uniform sample on which the curvature of a network is taken; a convex model "
        "takes it on all rows.",
        minimum=1,
    )
    max_products: int = hyperparameter(
        10, "Most curvature products for each damping on a network.", minimum=1, maximum=10_000
    )
    recursions: int = hyperparameter(
        1000, "Most steps of a LiSSA recursion.", minimum=1, maximum=1_000_000
    )
    repetitions: int = hyperparameter(
        1, "LiSSA recursions that are averaged.", minimum=1, maximum=100
    )
    batch_size: int | None = hyperparameter(
        None,
        "Rows of a LiSSA step, drawn anew for each; null: all rows the curvature is taken on.",
        minimum=1,
    )
    scale: float | None = hyperparameter(
        None,
        "What LiSSA divides the curvature by; must exceed its largest eigenvalue. Null: twice what "
        "power iteration finds.",
        above=0,
    )
    solve_tolerance: float = hyperparameter(
        1e-2,
        "Relative residual, taken with the whole curvature, at which a LiSSA solve counts as "
        "converged.",
        above=0,
        maximum=1,
    )

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update.

        Raises:
            NotApplicable: An exact solve is asked for on too many scalars.
            NotConverged: A convex model's optimum was not reached, or LiSSA diverged.
            NonFinite: A new value is not finite.
        """
        convex = is_convex(problem.model, problem.objective)
        if convex and self.order == "second":
            problem = problem.with_all_retained()
            if self.solver == "auto":
                return self._to_the_optimum(problem)
        # Where the curvature is the whole truth its solve deserves all digits.
        precise = in_float64(problem) if convex else problem
        found = correct(
            precise,
            Selection.everything(precise.parameters),
            order=self.order,
            steps=0 if problem.nothing_changes else self.steps or 1,
            rate=self.rate,
            damping=self.damping,
            curvature_rows=max(1, len(precise.edited)) if convex else self.curvature_rows,
            how=solving(
                "auto" if self.order == "first" else self.solver,
                precise.parameter_count,
                self.max_products,
                self._recursive(problem.generator_seed),
            ),
        )
        facts: dict[str, JSON] = {
            "steps": found.steps,
            "sizes": list(found.sizes),
            "solver": self.solver if self.order == "second" else None,
            "solve_residuals": list(found.residuals),
            "converged": found.converged,
            "edited_loss_before": found.loss_before,
            "edited_loss_after": found.loss_after,
        }
        own = problem.parameters
        theta = {name: t.to(own[name].dtype) for name, t in found.theta.items()}
        return self._update(problem, theta, found.gradient_evaluations, facts)

    def _recursive(self, seed: int) -> Recursive:
        return Recursive(
            self.recursions,
            self.batch_size,
            self.repetitions,
            self.scale,
            self.solve_tolerance,
            seed,
        )

    def _to_the_optimum(self, problem: Problem) -> Update:
        if problem.nothing_changes:
            return self._update(problem, {}, 0, {"steps": 0})
        found = convex_optimum(
            problem,
            tolerance=self.tolerance,
            accuracy=self.accuracy,
            max_steps=self.steps or 500,
            progress=problem.progress,
        )
        own = problem.parameters
        rounded = {name: t.to(own[name].dtype) for name, t in found.theta.items()}
        rounding = sum(
            float((rounded[name].double() - t).square().sum()) for name, t in found.theta.items()
        )
        decay = problem.objective.weight_decay
        bound = found.gradient_norm / decay + rounding**0.5 if decay > 0 else None
        facts: dict[str, JSON] = {
            "steps": found.steps,
            "converged": True,
            "gradient_norm": found.gradient_norm,
            "distance_to_optimum_at_most": bound,
            "all_retained_rows": len(problem.retained) == problem.retained_total,
            "edited_loss_before": found.loss_before,
            "edited_loss_after": found.loss_after,
        }
        return self._update(problem, rounded, found.gradient_evaluations, facts)

    def _update(
        self, problem: Problem, theta: dict[str, Tensor], evaluations: int, facts: dict[str, JSON]
    ) -> Update:
        return self.update(
            problem,
            theta,
            selected=problem.parameter_count,
            gradient_evaluations=evaluations,
            diagnostics=facts,
        )
