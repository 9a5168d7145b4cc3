"""A deletion or correction on a model that was trained with noise in its objective.

At the parameters theta the plain summed gradient on the data they were trained on is -b: the noise
can be read off and need not have been kept. If theta is not quite the optimum, b differs from the
noise by what training and earlier updates have left, which is what the budget has counted. An
update then aims at the optimum of the same objective, b included, on the edited data, and what it
misses is counted in turn.
"""

from dataclasses import dataclass

from app.unlearning.certified.convex_part import ConvexPart, convex_part
from app.unlearning.certified.noise import require_plausible
from app.unlearning.certified.spending import Promise
from app.unlearning.certified.summed_objective import SummedObjective
from app.unlearning.errors import NotApplicable
from app.unlearning.problem import Problem
from app.unlearning.rows import concatenate


@dataclass(frozen=True)
class Setting:
    """What a certified update works with.

    Attributes:
        part: The linear layer.
        promise: What has to be kept.
        before: The plain objective on the rows the model was trained on.
        after: The perturbed objective on the edited rows.
        spent: Residual that may be left already.
    """

    part: ConvexPart
    promise: Promise
    before: SummedObjective
    after: SummedObjective
    spent: float


def setting_of(problem: Problem, epsilon: float, delta: float) -> Setting:
    """Check that a problem allows a proof, and lay it out.

    Args:
        problem: The problem.
        epsilon: Of the promise.
        delta: Of the promise.

    Returns:
        The layout.

    Raises:
        NotApplicable: The recipe declares no noise, the parameters do not show it, the model is not
            strongly convex, or the rows it was trained on are not known exactly.
    """
    recipe = problem.recipe
    if recipe is None or recipe.perturbation is None:
        raise NotApplicable("the recipe declares no perturbation of the training objective")
    if problem.untouched is None:
        raise NotApplicable("the rows the model was trained on are not known exactly")
    if problem.spent is None:
        raise NotApplicable(
            "an earlier update on this line left an unknown residual; train the model again"
        )
    part = convex_part(problem.model, problem.objective, recipe.trained)
    untouched = part.rows(problem.untouched())
    forget, replacement = part.rows(problem.forget), part.rows(problem.replacement)
    if not len(untouched) + len(replacement):
        raise NotApplicable("no edited rows are at hand")
    has_bias = part.bias is not None
    before = SummedObjective(part.objective, concatenate(untouched, forget), has_bias)
    b = -before.gradient(part.theta)
    deviation = recipe.perturbation.standard_deviation
    require_plausible(b, deviation, problem.spent)
    after = SummedObjective(part.objective, concatenate(untouched, replacement), has_bias, b)
    return Setting(part, Promise(epsilon, delta, deviation), before, after, problem.spent)
