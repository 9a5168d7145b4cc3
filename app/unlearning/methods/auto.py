"""Choose a method by what the problem holds, and say why."""

from dataclasses import dataclass, replace
from typing import ClassVar

from app.unlearning.errors import NotApplicable
from app.unlearning.methods.choice import choose, situation_of
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import make_method, register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.update import JSON, Update

_SPARSE = ("saps", "shrinking_mask", "sparse_newton", "reference_distillation")


@register("auto")
@dataclass(frozen=True)
class Auto(Method):
    """Delegate to the method that the table names."""

    title: ClassVar[str] = "Chosen by what is at hand"
    reference: ClassVar[str] = "The table in docs/guide.md"

    fraction: float | None = hyperparameter(
        None,
        "Share of the scalars that a sparse method may change; null: the method's own default.",
        minimum=0,
        maximum=1,
    )

    def unlearn(self, problem: Problem) -> Update:
        """Choose and run; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The chosen method's update, under its own name, with the reason of the choice.

        Raises:
            NotApplicable: No method fits, because neither retained rows nor a recipe are there.
            NotConvincing: The method chosen refuses its own result.
            BudgetSpent: The noise that training used does not hide the result.
        """
        situation = situation_of(problem)
        line = choose(situation)
        if line is None:
            raise NotApplicable("neither retained rows nor a recipe are at hand")
        sparse = line.method in _SPARSE and self.fraction is not None
        parameters: dict[str, JSON] = self.hyperparameters() if sparse else {}
        update = make_method(line.method, parameters).unlearn(problem)
        diagnostics: dict[str, JSON] = {**update.diagnostics, "situation": situation.account()}
        return replace(update, reason=line.reason, diagnostics=diagnostics)
