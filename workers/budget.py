"""Run a job's method within the budget of its line of versions; train again where it is spent."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog
from torch import nn

from app.domain import budgets, methods
from app.domain.budgets import Line, Step
from app.domain.jobs import Job
from app.unlearning.errors import BudgetSpent
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.update import Update

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Charge:
    """What a job is about to do to a line of versions.

    Attributes:
        limits: The policy's.
        line: What was done to it before.
        step: What this job does; its drift is not known yet.
    """

    limits: Mapping[str, Any]
    line: Line
    step: Step

    def after(self, update: Update, drift: float) -> dict[str, Any]:
        """Write the sums after an update for the report."""
        certified = update.certified or {}
        spent = certified.get("spent")
        return budgets.document(
            self.limits,
            self.line,
            replace(self.step, drift=drift),
            is_trained=update.method == methods.RETRAIN,
            residual=spent if isinstance(spent, float) else None,
        )


def charge_of(job: Job, line: Line, requests: int, problem: Problem) -> Charge:
    """Return what a job is about to do."""
    rows = max(len(problem.forget), len(problem.replacement))
    share = rows / max(1, problem.original_total)
    limits = (job.policy or {}).get("budget", {})
    return Charge(limits, line, Step(requests, rows, share))


def unlearn(job: Job, problem: Problem, charge: Charge) -> Update:
    """Run the job's method; if a budget forbids it, train the network again instead.

    Args:
        job: The job.
        problem: Its problem.
        charge: What it is about to do.

    Returns:
        The update. When a budget was spent its method is ``retrain``, and its reason says why.

    Raises:
        BudgetSpent: And the network cannot be trained again.
        UnlearningError: The method failed.
    """
    if job.method == methods.RETRAIN:
        return make_method(methods.RETRAIN, job.parameters).unlearn(problem)
    reached = budgets.exceeded(charge.limits, charge.line, charge.step)
    if reached is not None:
        return _train_again(
            problem, BudgetSpent(reached.name, reached.used, reached.limit), reached
        )
    try:
        update = make_method(str(job.method), job.parameters).unlearn(problem)
    except BudgetSpent as spent:
        why = f"what the noise of the training hides is used up ({spent})"
        return _train_again(problem, spent, why)
    if update.method == methods.RETRAIN:
        return update
    step = replace(charge.step, drift=drift_of(problem.model, update))
    reached = budgets.exceeded(charge.limits, charge.line, step)
    if reached is not None:
        return _train_again(
            problem, BudgetSpent(reached.name, reached.used, reached.limit), reached
        )
    return update


def drift_of(model: nn.Module, update: Update) -> float:
    """Return how far an update moves the parameters, as a share of their norm."""
    own = {name: p.detach() for name, p in model.named_parameters()}
    moved = sum(
        float((value - own[name]).double().square().sum()) for name, value in update.values.items()
    )
    size = sum(float(p.double().square().sum()) for p in own.values())
    return math.sqrt(moved / size if size > 0 else moved)


def _train_again(problem: Problem, spent: BudgetSpent, why: object) -> Update:
    """Train again, or say why that would have been needed.

    Raises:
        BudgetSpent: There is no recipe.
    """
    log.info("budget.spent", budget=spent.name, used=spent.used, limit=spent.limit)
    if problem.recipe is None:
        raise spent
    update = make_method(methods.RETRAIN, {}).unlearn(problem)
    return replace(update, reason=f"{why}; so the network was trained again")
