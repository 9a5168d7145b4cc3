"""Train again from scratch without the data: exact, and the yardstick of everything else.

By the recipe, with two turns. Where training left all layers but the last alone, these stay and
only the last one is trained. Where the recipe puts noise into a strongly convex objective, the
optimum with fresh noise is found by Newton's method: it is the same whichever optimiser looks for
it, and what is left of the gradient is then known.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from app.unlearning.certified import convex_part, gaussian_noise, perturbed_optimum
from app.unlearning.distillation.head_split import split_head
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.method import Method, Need
from app.unlearning.methods.registry import register
from app.unlearning.problem import Problem
from app.unlearning.recipe import Perturbation, Recipe
from app.unlearning.rows import Rows, concatenate
from app.unlearning.training import Training, initialise, train
from app.unlearning.truncation import FeatureRows
from app.unlearning.update import JSON, Assurance, Update

# Norm of the mean gradient, in float64, at which a perturbed optimum is reached; rounding to
# float32 leaves far more.
_TOLERANCE = 1e-10
_FEATURE_BATCH = 256


@register("retrain")
@dataclass(frozen=True)
class Retrain(Method):
    """Train a fresh network by the recipe on the edited data.

    The result is a draw from exactly the distribution of networks that never saw the data; with the
    recipe's seeds and the order of the rows, which is that of the data set, it is one definite
    draw. It does not depend on the parameters at hand.
    """

    title: ClassVar[str] = "Retraining from scratch"
    reference: ClassVar[str] = "The definition of exact unlearning (Cao and Yang 2015)"
    needs: ClassVar[tuple[Need, ...]] = ("retained_rows", "recipe")
    assurance: ClassVar[Assurance] = "exact"

    def unlearn(self, problem: Problem) -> Update:
        """Train on all retained rows, then the corrected ones in their order.

        Args:
            problem: The problem; its network is not modified.

        Returns:
            Every parameter and buffer that changed.

        Raises:
            NotApplicable: The recipe, the architecture or the retained rows are not there, or the
                recipe asks for what the network does not allow.
            NotConverged: The optimum of a perturbed objective was not reached.
            NonFinite: Training diverged.
        """
        if problem.recipe is None:
            raise NotApplicable("retraining needs the recipe")
        if problem.build is None or problem.full_retained is None:
            raise NotApplicable("retraining needs the architecture and every retained row")
        if problem.recipe.perturbation is not None:
            return self._perturbed(problem, problem.recipe, problem.recipe.perturbation)
        rows = concatenate(problem.full_retained(), problem.replacement)
        if problem.recipe.trained == "last_layer":
            return self._last_layer(problem, problem.recipe, rows)
        like = next(problem.model.parameters())
        model = initialise(problem.build, problem.recipe.initialisation_seed)
        model = model.to(device=like.device, dtype=like.dtype)
        run = train(model, rows, problem.objective, problem.recipe, progress=problem.progress)
        trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        return self.update(
            problem,
            trained,
            buffers=dict(model.named_buffers()),
            selected=problem.parameter_count,
            gradient_evaluations=run.gradient_evaluations,
            rows_read=len(rows),
            diagnostics={"epochs": run.epochs, "training_loss": run.loss},
        )

    def _last_layer(self, problem: Problem, recipe: Recipe, rows: Rows) -> Update:
        """Train a fresh last layer on the features of the others.

        Raises:
            NotApplicable: The architecture is not there, or has no last layer of its own.
        """
        if problem.build is None:
            raise NotApplicable("retraining needs the architecture")
        split = split_head(problem.model, layers=1)
        head = split_head(initialise(problem.build, recipe.initialisation_seed), layers=1).head
        like = next(split.head.parameters())
        head = head.to(device=like.device, dtype=like.dtype)
        seen = FeatureRows(split.body, rows, _FEATURE_BATCH)
        run = train(head, seen, problem.objective, recipe, progress=problem.progress)
        values = {split.names[name]: p.detach() for name, p in head.named_parameters()}
        return self._update(problem, values, run, len(rows))

    def _perturbed(self, problem: Problem, recipe: Recipe, noise: Perturbation) -> Update:
        """Find the optimum with fresh noise in the objective.

        Trained on exactly what the version will be said to hold, rows included that other requests
        are about to delete; only then is the residual of later updates known.

        Raises:
            NotApplicable: The retained rows are not there, or the objective is not strongly convex.
        """
        retained = problem.full_retained if problem.untouched is None else problem.untouched
        if retained is None:
            raise NotApplicable("retraining needs every retained row")
        part = convex_part(problem.model, problem.objective, recipe.trained)
        shape = tuple(part.theta.shape)
        b = gaussian_noise(shape, noise.standard_deviation, problem.random_bytes)
        objective = part.summed(retained(), problem.replacement, linear=b.to(part.theta))
        if not objective.count:
            raise NotApplicable("there are no rows to train on")
        found = perturbed_optimum(
            objective,
            part.theta.new_zeros(shape),
            tolerance=_TOLERANCE,
            progress=problem.progress,
        )
        residual = float(objective.gradient(part.rounded(found.theta)).norm())
        certified: dict[str, JSON] = {
            "mechanism": "objective_perturbation",
            "noise": noise.standard_deviation,
            "bound": residual,
            "spent_before": 0.0,
            "spent": residual if problem.untouched is not None else None,
        }
        return self.update(
            problem,
            part.values(found.theta),
            selected=problem.parameter_count,
            gradient_evaluations=objective.gradient_evaluations,
            rows_read=objective.count,
            diagnostics={"steps": found.steps, "gradient_norm": residual / objective.count},
            certified=certified,
        )

    def _update(
        self, problem: Problem, values: dict[str, Tensor], run: Training, rows: int
    ) -> Update:
        return self.update(
            problem,
            values,
            selected=problem.parameter_count,
            gradient_evaluations=run.gradient_evaluations,
            rows_read=rows,
            diagnostics={"epochs": run.epochs, "training_loss": run.loss},
        )
