"""Go on training all parameters on the edited data: the honest baseline."""

import math
from dataclasses import dataclass
from typing import ClassVar

from app.unlearning.methods.masked_descent import masked_descent
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.selection import Selection
from app.unlearning.update import Update


@register("fine_tune")
@dataclass(frozen=True)
class FineTune(Method):
    """A few epochs of Adam on the edited data, the best point on a fixed sample kept.

    The order of the rows decides, with the seed, what the mini-batches are. A correction there and
    back does not return: no closed form says where a descent ends.
    """

    title: ClassVar[str] = "Fine-tuning on the edited data"
    reference: ClassVar[str] = "Baseline of the unlearning literature (Golatkar et al. 2020)"

    epochs: float = hyperparameter(
        1.0, "Passes over the edited rows at hand.", above=0, maximum=1000
    )
    gradient_budget: int | None = hyperparameter(
        None, "Row gradients to spend, for a comparison at equal cost; overrides epochs.", minimum=1
    )
    learning_rate: float = hyperparameter(1e-3, "Step size of Adam.", above=0, maximum=1)
    batch_size: int = hyperparameter(64, "Rows of a step.", minimum=1, maximum=65536)

    def unlearn(self, problem: Problem) -> Update:
        """Compute the update; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The update.

        Raises:
            NonFinite: The descent diverged.
        """
        selection = Selection.everything(problem.parameters)
        at_hand = len(problem.edited)
        budget = self.gradient_budget or math.ceil(self.epochs * at_hand)
        size = max(1, min(self.batch_size, budget, at_hand))
        steps = 0 if problem.nothing_changes else budget // size
        descent = masked_descent(
            problem,
            selection,
            learning_rate=self.learning_rate,
            steps=steps,
            batch_size=size,
            progress=problem.progress,
        )
        return self.update(
            problem,
            descent.values,
            selected=selection.count,
            gradient_evaluations=descent.gradient_evaluations,
            diagnostics={
                "steps": descent.steps,
                "best_step": descent.best_step,
                "edited_loss_before": descent.loss_before,
                "edited_loss_after": descent.loss_after,
            },
        )
