"""Which method for which request: a table, and the facts that it asks for.

The first line whose conditions all hold is taken. What a service holds decides before the size of
the network does: retained rows, held-out rows, a recipe, noise in the training. Lines are about
what the methods here were measured to do; the last ones say what is left when little is at hand.
"""

from dataclasses import dataclass
from typing import Final, Literal

from app.unlearning.certified import convex_part
from app.unlearning.convexity import is_convex
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.distillable import is_dear, is_distillable
from app.unlearning.problem import Problem
from app.unlearning.update import JSON

Fact = Literal["perturbed", "convex", "linear_head", "edited", "retrainable", "distillable", "dear"]
Size = Literal["small", "medium", "large"]
Asked = Literal[
    "deletion",
    "label_correction",
    "feature_correction",
    "corrections",
    "deletion_and_correction",
]

SMALL, MEDIUM = 1_000_000, 100_000_000
"""Parameters up to which a network is small, and up to which it is of medium size."""
MANY = 0.05
"""Share of the training rows above which a deletion is one of many rows."""
EVERYWHERE = 0.5
"""Share of the training rows from which corrected features are a column that changes everywhere."""

CORRECTIONS: Final[tuple[Asked, ...]] = ("label_correction", "feature_correction", "corrections")
DELETIONS: Final[tuple[Asked, ...]] = ("deletion", "deletion_and_correction")


@dataclass(frozen=True)
class Situation:
    """What the choice depends on.

    Attributes:
        kind: What is asked; ``corrections`` are of labels and of features. Rows that come back
            corrected teach the network what it should have learned; one that is deleted beside
            them teaches nothing, so that it decides: ``deletion_and_correction``.
        size: Of the network, by its trainable parameters.
        affected_share: Affected rows as a share of the training rows.
        facts: Those that hold: ``perturbed``, training put noise into the objective, as the recipe
            declares; ``convex``, the objective is; ``linear_head``, the recipe declares that only
            the last layer was trained, it is linear, its objective strongly convex, and every
            retained row can be opened; ``edited``, the edited data are at hand (some retained rows,
            unless there are none); ``retrainable``, the recipe, the architecture and
            every retained row are; ``distillable``, a reference can be fitted, calibrated and
            judged: the objective has classes, the network a head, and there are enough retained
            and held-out rows; ``dear``, doing so would cost more than it saves.
    """

    kind: Asked
    size: Size
    affected_share: float
    facts: frozenset[Fact]

    def account(self) -> dict[str, JSON]:
        """The situation as a report shows it."""
        facts: list[JSON] = [*sorted(self.facts)]
        return {
            "kind": self.kind,
            "size": self.size,
            "affected_share": self.affected_share,
            "facts": facts,
        }


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        method: The method it names.
        reason: Why, for the report.
        kinds: Requests it is about; none for all.
        sizes: Networks it is about; none for all.
        holds: Facts that have to hold.
        more_than: Affected share that has to be exceeded.
    """

    method: str
    reason: str
    kinds: tuple[Asked, ...] = ()
    sizes: tuple[Size, ...] = ()
    holds: tuple[Fact, ...] = ()
    more_than: float = -1.0

    def fits(self, situation: Situation) -> bool:
        """Whether all conditions hold."""
        return (
            (not self.kinds or situation.kind in self.kinds)
            and (not self.sizes or situation.size in self.sizes)
            and situation.facts.issuperset(self.holds)
            and situation.affected_share > self.more_than
        )


TABLE: Final = (
    Line(
        "certified_update",
        "training put noise into a strongly convex objective so that deletions can be proved; any "
        "other update would take the noise off",
        holds=("perturbed",),
    ),
    Line(
        "influence",
        "the objective is convex, so Newton steps on the edited data reach the optimum that "
        "retraining would find",
        holds=("convex", "edited"),
    ),
    Line(
        "certified_descent",
        "only a linear last layer was fitted to the rows: its optimum on the edited data is found, "
        "and noise hides the little that is missing; the layers before it stay as they are",
        holds=("linear_head", "edited"),
    ),
    Line(
        "retrain",
        "more than a twentieth of the training rows are deleted; no approximate update was shown "
        "to follow that far, and the recipe is known",
        kinds=("deletion",),
        holds=("retrainable",),
        more_than=MANY,
    ),
    Line(
        "retrain",
        "some rows are deleted and others corrected; what relearns the ones does not forget the "
        "others, and the recipe is known",
        kinds=("deletion_and_correction",),
        holds=("retrainable",),
    ),
    Line(
        "retrain",
        "a network that retrains about as fast as a reference could be fitted and followed, and "
        "the recipe is known",
        kinds=("deletion",),
        holds=("retrainable", "distillable", "dear"),
    ),
    Line(
        "reference_distillation",
        "a deletion from a network with retained and held-out rows at hand: a reference that never "
        "saw the rows says how they should be answered, and whether the result would pass",
        kinds=("deletion",),
        holds=("edited", "distillable"),
    ),
    Line(
        "retrain",
        "features change in most of the training rows; what the network has learned of them is "
        "everywhere in it, and the recipe is known",
        kinds=("feature_correction",),
        holds=("retrainable",),
        more_than=EVERYWHERE,
    ),
    Line(
        "shrinking_mask",
        "corrected rows show what the network should have learned: its last layers learn it from "
        "the edited data, and keep only the few changes that matter",
        kinds=CORRECTIONS,
        sizes=("small", "medium"),
        holds=("edited",),
    ),
    Line(
        "sparse_newton",
        "a correction of a network so large that training even its last layers is dear: the edited "
        "loss is minimised over the few scalars that gain most",
        kinds=CORRECTIONS,
        holds=("edited",),
    ),
    Line(
        "sparse_newton",
        "a deletion that cannot be distilled, for want of held-out rows, of classes or of a head, "
        "or for the corrections beside it: the edited loss is minimised over the few scalars that "
        "gain most, and the measurements decide whether that is enough",
        kinds=DELETIONS,
        holds=("edited",),
    ),
    Line(
        "saps",
        "no retained rows are at hand; the correction itself gives the step",
        kinds=CORRECTIONS,
    ),
    Line(
        "retrain",
        "nothing is at hand that an approximate update could be judged on, and the recipe is known",
        holds=("retrainable",),
    ),
)
"""The first line that fits is taken; none fits a deletion with neither retained rows nor recipe."""


def choose(situation: Situation) -> Line | None:
    """The first line that fits, or None."""
    return next((line for line in TABLE if line.fits(situation)), None)


def situation_of(problem: Problem) -> Situation:
    """Read off a problem what the choice depends on."""
    distillable = is_distillable(problem)
    found: dict[Fact, bool] = {
        "perturbed": problem.recipe is not None and problem.recipe.perturbation is not None,
        "convex": is_convex(problem.model, problem.objective),
        "linear_head": _has_linear_head(problem),
        # Where every row is corrected, the corrected rows are all of the edited data.
        "edited": len(problem.retained) > 0
        or (problem.retained_total == 0 and len(problem.replacement) > 0),
        "retrainable": None not in (problem.recipe, problem.build, problem.full_retained),
        "distillable": distillable,
        "dear": distillable and problem.kind == "deletion" and is_dear(problem),
    }
    return Situation(
        kind=asked(problem),
        size=size_of(problem.parameter_count),
        affected_share=len(problem.forget) / max(1, problem.original_total),
        facts=frozenset(fact for fact, holds in found.items() if holds),
    )


def asked(problem: Problem) -> Asked:
    """What a problem asks, told by its rows where its kind leaves it open.

    Rows of a correction that another request deletes have no replacement either.
    """
    if problem.kind == "deletion":
        return "deletion"
    if problem.deletes:
        return "deletion_and_correction"
    return "corrections" if problem.kind == "mixed" else problem.kind


def size_of(parameters: int) -> Size:
    """The size of a network by its trainable parameters."""
    if parameters <= SMALL:
        return "small"
    return "medium" if parameters <= MEDIUM else "large"


def _has_linear_head(problem: Problem) -> bool:
    recipe = problem.recipe
    is_whole = problem.full_retained is not None or len(problem.retained) == problem.retained_total
    if recipe is None or recipe.trained != "last_layer" or not is_whole:
        return False
    try:
        convex_part(problem.model, problem.objective, recipe.trained)
    except NotApplicable:
        return False
    return True
