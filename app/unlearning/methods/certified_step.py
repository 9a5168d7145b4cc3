"""What the certified methods share: holding a step against the budget, and telling about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from app.unlearning.certified import (
    Setting,
    Spending,
    SummedObjective,
    remainder,
    unsolved,
    worst_case,
)
from app.unlearning.methods.method import Method
from app.unlearning.problem import Problem
from app.unlearning.rows import concatenate
from app.unlearning.update import JSON, Update


@dataclass(frozen=True)
class Bounds:
    """What a step may have left of the gradient of the summed, edited objective.

    Attributes:
        measured: The norm at the parameters that are published.
        data_dependent: The bound from the step and the rows.
        worst_case: The bound from constants alone, for an exact Newton step from the start.
        unsolved: The part of both that the linear solve and the rounding of its result have.
    """

    measured: float
    data_dependent: float
    worst_case: float
    unsolved: float


def bounds_of(
    problem: Problem, setting: Setting, origin: Tensor, gradient: Tensor, step: Tensor
) -> Bounds:
    """Bound what is left after a step.

    Args:
        problem: The problem.
        setting: Its layout.
        origin: Where the last step began, (outputs, features).
        gradient: The gradient of the edited objective there.
        step: The last step.

    Returns:
        The bounds; ``worst_case`` is meant for the first step alone.
    """
    part, after = setting.part, setting.after
    published = part.rounded(origin + step)
    taken = published - origin
    lost = unsolved(after, origin, gradient, taken)
    changed = concatenate(part.rows(problem.forget), part.rows(problem.replacement))
    edges = SummedObjective(part.objective, changed, part.bias is not None)
    radius = max(after.norms[0], edges.norms[0])
    before = setting.before.count
    away = float((taken - step).norm())
    worst = worst_case(after, origin, before=before, changed=changed, radius=radius, away=away)
    return Bounds(
        measured=float(after.gradient(published).norm()),
        data_dependent=lost + remainder(after, taken),
        worst_case=lost + worst,
        unsolved=lost,
    )


def conclude(
    method: Method,
    problem: Problem,
    setting: Setting,
    theta: Tensor,
    *,
    charged: float,
    kind: str,
    facts: Mapping[str, JSON],
) -> Update:
    """Make the update, if its budget allows it.

    Args:
        method: Whose update.
        problem: The problem.
        setting: Its layout.
        theta: The new parameters of the layer, before rounding.
        charged: Residual it is charged with.
        kind: How that was found.
        facts: For the report.

    Returns:
        The update.

    Raises:
        BudgetSpent: The noise does not hide that much any more.
    """
    spending = Spending(setting.promise, setting.spent, charged)
    spending.require()
    part = setting.part
    affected = max(len(problem.forget), len(problem.replacement))
    return method.update(
        problem,
        {} if problem.nothing_changes else part.values(theta),
        selected=theta.numel(),
        gradient_evaluations=(
            setting.before.gradient_evaluations + setting.after.gradient_evaluations
        ),
        rows_read=setting.before.count - len(problem.forget) + affected,
        diagnostics=dict(facts),
        certified=spending.document() | {"bound_kind": kind},
    )
