"""Choose a method by what the problem holds, and say why."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from app.unlearning.convexity import is_convex
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
        edited: Whether the edited data are at hand: some retained rows, unless there are none.
        retrainable: Whether the recipe, the architecture and every retained row are there.
        affected_share: Affected rows as a share of the training rows.
    """

    kind: str
    convex: bool
    edited: bool
    retrainable: bool
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

# The first line that applies is taken.
RULES = (
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
        lambda s: s.edited,
        "sparse_newton",
        "a deletion from a network: the edited loss is minimised over the few scalars that gain "
        "most, and the measurements decide whether that is enough",
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
        # Where every row is corrected, the corrected rows are all of the edited data.
        edited=len(problem.retained) > 0
        or (problem.retained_total == 0 and len(problem.replacement) > 0),
        retrainable=None not in (problem.recipe, problem.build, problem.full_retained),
        affected_share=len(problem.forget) / max(1, problem.original_total),
    )


@register("auto")
@dataclass(frozen=True)
class Auto(Method):
    """Delegate to the method that the table names."""

    title: ClassVar[str] = "Chosen by what is at hand"
    reference: ClassVar[str] = "The table in the documentation"

    fraction: float = hyperparameter(
        0.05, "Share of the scalars that a sparse method may change.", minimum=0, maximum=1
    )

    def unlearn(self, problem: Problem) -> Update:
        """Choose and run; ``problem.model`` is not modified.

        Args:
            problem: The problem.

        Returns:
            The chosen method's update, under its own name, with the reason of the choice.

        Raises:
            NotApplicable: No method fits, because neither retained rows nor a recipe are there.
        """
        rule = choose(situation_of(problem))
        if rule is None:
            raise NotApplicable("neither retained rows nor a recipe are at hand")
        sparse = rule.method in ("saps", "sparse_newton")
        parameters: dict[str, JSON] = self.hyperparameters() if sparse else {}
        update = make_method(rule.method, parameters).unlearn(problem)
        return replace(update, reason=rule.reason)
