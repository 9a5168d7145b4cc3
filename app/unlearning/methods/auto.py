"""Choose a method by what the problem holds, and say why."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from app.unlearning.convexity import is_convex
from app.unlearning.distillation.answers import require_classes
from app.unlearning.distillation.calibration import ENOUGH_HELD_OUT
from app.unlearning.distillation.head_split import split_head
from app.unlearning.distillation.material import FEWEST_RETAINED
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.method import Method
from app.unlearning.methods.registry import make_method, register
from app.unlearning.methods.schema import hyperparameter
from app.unlearning.problem import Problem
from app.unlearning.update import JSON, Update


@dataclass(frozen=True)
class Situation:
    """What the choice depends on.

    Attributes:
        kind: What is asked.
        convex: Whether the objective is convex.
        perturbed: Whether training put noise into it, as the recipe declares.
        edited: Whether the edited data are at hand: some retained rows, unless there are none.
        retrainable: Whether the recipe, the architecture and every retained row are there.
        distillable: Whether a reference can be fitted, calibrated and judged: the objective has
            classes, the network a head, and there are enough retained and held-out rows.
        affected_share: Affected rows as a share of the training rows.
    """

    kind: str
    convex: bool
    perturbed: bool
    edited: bool
    retrainable: bool
    distillable: bool
    affected_share: float


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        applies: Whether the line is meant.
        method: The method it names.
        reason: Why, for the report.
    """

    applies: Callable[[Situation], bool]
    method: str
    reason: str


# A deletion of this share of the rows changes what the network knows, not only what it remembers;
# approximate updates are then off by more than two retrainings differ.
_MANY = 0.2

_SPARSE = ("saps", "sparse_newton", "reference_distillation")

# The first line that applies is taken.
RULES = (
    Rule(
        lambda s: s.perturbed,
        "certified_update",
        "training put noise into a strongly convex objective so that deletions can be proved; any "
        "other update would take the noise off",
    ),
    Rule(
        lambda s: s.convex and s.edited,
        "influence",
        "the objective is convex, so Newton steps on the edited data reach the optimum that "
        "retraining would find",
    ),
    Rule(
        lambda s: s.kind == "deletion" and s.affected_share >= _MANY and s.retrainable,
        "retrain",
        "a fifth or more of the training rows are deleted; no approximate update follows that far, "
        "and the recipe is known",
    ),
    Rule(
        lambda s: s.kind != "deletion" and s.edited,
        "sparse_newton",
        "corrected rows show what the network should have learned; minimising the edited loss over "
        "the few scalars that gain most restores it at a fraction of retraining",
    ),
    Rule(
        lambda s: s.kind == "deletion" and s.distillable,
        "reference_distillation",
        "a deletion from a network with retained and held-out rows at hand: a reference that never "
        "saw the rows says how they should be answered, and whether the result would pass",
    ),
    Rule(
        lambda s: s.edited,
        "sparse_newton",
        "a deletion from a network that cannot be distilled, for want of held-out rows, of classes "
        "or of a head: the edited loss is minimised over the few scalars that gain most, and the "
        "measurements decide whether that is enough",
    ),
    Rule(
        lambda s: s.kind != "deletion",
        "saps",
        "no retained rows are at hand; the correction itself gives the step",
    ),
    Rule(
        lambda s: s.retrainable,
        "retrain",
        "nothing is at hand that an approximate update could be judged on, and the recipe is known",
    ),
)


def choose(situation: Situation) -> Rule | None:
    """The first rule that applies, or None."""
    return next((rule for rule in RULES if rule.applies(situation)), None)


def situation_of(problem: Problem) -> Situation:
    """Read off a problem what the choice depends on."""
    return Situation(
        kind=problem.kind,
        convex=is_convex(problem.model, problem.objective),
        perturbed=problem.recipe is not None and problem.recipe.perturbation is not None,
        # Where every row is corrected, the corrected rows are all of the edited data.
        edited=len(problem.retained) > 0
        or (problem.retained_total == 0 and len(problem.replacement) > 0),
        retrainable=None not in (problem.recipe, problem.build, problem.full_retained),
        distillable=_is_distillable(problem),
        affected_share=len(problem.forget) / max(1, problem.original_total),
    )


def _is_distillable(problem: Problem) -> bool:
    held_out = 0 if problem.holdout is None else len(problem.holdout)
    if held_out < ENOUGH_HELD_OUT or len(problem.retained) < FEWEST_RETAINED:
        return False
    try:
        require_classes(problem.objective)
        split_head(problem.model)
    except NotApplicable:
        return False
    return True


@register("auto")
@dataclass(frozen=True)
class Auto(Method):
    """Delegate to the method that the table names."""

    title: ClassVar[str] = "Chosen by what is at hand"
    reference: ClassVar[str] = "The table in the documentation"

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
        rule = choose(situation_of(problem))
        if rule is None:
            raise NotApplicable("neither retained rows nor a recipe are at hand")
        sparse = rule.method in _SPARSE and self.fraction is not None
        parameters: dict[str, JSON] = self.hyperparameters() if sparse else {}
        update = make_method(rule.method, parameters).unlearn(problem)
        return replace(update, reason=rule.reason)
