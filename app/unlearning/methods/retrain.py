"""Train again from scratch without the data: exact, and the yardstick of everything else."""

from dataclasses import dataclass
from typing import ClassVar

from app.unlearning.errors import NotApplicable
from app.unlearning.methods.method import Method, Need
from app.unlearning.methods.registry import register
from app.unlearning.problem import Problem
from app.unlearning.rows import concatenate
from app.unlearning.training import initialise, train
from app.unlearning.update import Assurance, Update


@register("retrain")
@dataclass(frozen=True)
class Retrain(Method):
    """Train a fresh network by the recipe on the edited data.

    The result is a draw from exactly the distribution of networks that never saw the data; with the
    recipe's seeds it is one definite draw.
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
            NotApplicable: The recipe, the architecture or the retained rows are not there.
            NonFinite: Training diverged.
        """
        if problem.recipe is None:
            raise NotApplicable("retraining needs the recipe")
        if problem.build is None or problem.full_retained is None:
            raise NotApplicable("retraining needs the architecture and every retained row")
        rows = concatenate(problem.full_retained(), problem.replacement)
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
