"""A job stays within the budget of its line of versions, or trains the network again."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from app.domain.budgets import Line
from app.domain.jobs import Job
from app.unlearning.errors import BudgetSpent, NotApplicable
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.update import apply_update
from tests.unlearning.certified.trained import Case
from workers.budget import charge_of, drift_of, unlearn

CASE = Case(rows=200, dtype=torch.float32)
LINE = Line("mv_first", requests=2, rows=6, share=0.03, drift=0.01)
NO_LIMITS: dict[str, Any] = {"requests": None, "share": None, "drift": None}


def problem_of(spent: float = 0.0) -> Problem:
    return CASE.problem(torch.arange(2), torch.arange(2, 200), spent=spent)


def job(method: str = "certified_update", **limits: Any) -> Job:
    return Job(method=method, parameters={}, policy={"budget": NO_LIMITS | limits})


def run(given: Job, problem: Problem, line: Line = LINE) -> tuple[str, str, dict[str, Any]]:
    charge = charge_of(given, line, 1, problem)
    update = unlearn(given, problem, charge)
    return update.method, update.reason, charge.after(update, drift_of(problem.model, update))


def test_within_its_budget_the_method_runs_and_the_sums_grow() -> None:
    method, _, sums = run(job(requests=3, share=0.5, drift=10.0), problem_of())
    assert method == "certified_update"
    assert sums["since_version_id"] == "mv_first"
    assert (sums["requests"], sums["rows"]) == (3, 8)
    assert sums["share"] == pytest.approx(0.03 + 2 / 200)
    assert sums["drift"] > 0.01
    assert sums["limits"] == {"requests": 3, "share": 0.5, "drift": 10.0}
    assert sums["residual"] > 0


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"requests": 2}, "its requests would come to 3, and the policy allows 2"),
        ({"share": 0.035}, "its share would come to 0.04, and the policy allows 0.035"),
        ({"drift": 0.011}, "its drift would come to"),
    ],
)
def test_past_a_limit_the_network_is_trained_again_and_the_sums_begin_anew(
    limits: dict[str, Any], words: str
) -> None:
    method, reason, sums = run(job(**limits), problem_of())
    assert method == "retrain"
    assert words in reason
    assert reason.endswith("so the network was trained again")
    assert sums["since_version_id"] is None
    assert (sums["requests"], sums["rows"], sums["share"], sums["drift"]) == (0, 0, 0, 0)


def test_noise_that_hides_no_more_is_renewed_by_training() -> None:
    problem = problem_of(spent=1e6)
    method, reason, sums = run(job(), problem)
    assert method == "retrain"
    assert "noise of the training hides is used up" in reason
    assert 0 <= sums["residual"] < 1e-3
    # And what is published can be certified again.
    update = unlearn(job(), problem, charge_of(job(), LINE, 1, problem))
    after = CASE.problem(
        torch.arange(2, 4),
        torch.arange(4, 200),
        model=apply_update(problem.model, update),
        spent=sums["residual"],
    )
    assert run(job(), after)[0] == "certified_update"


def test_without_a_recipe_a_spent_budget_is_an_error() -> None:
    problem = replace(problem_of(), recipe=None)
    given = job("influence", requests=0)
    with pytest.raises(BudgetSpent) as caught:
        unlearn(given, problem, charge_of(given, LINE, 1, problem))
    assert (caught.value.name, caught.value.used, caught.value.limit) == ("requests", 3, 0)


def test_retraining_asked_for_needs_no_budget() -> None:
    method, reason, sums = run(job("retrain", requests=0), problem_of())
    assert (method, reason) == ("retrain", "asked for by the policy")
    assert sums["requests"] == 0


def test_other_methods_leave_an_unknown_residual_behind() -> None:
    """They move towards the optimum without the noise; nobody can certify what follows."""
    _, _, sums = run(job("influence"), problem_of())
    assert sums["residual"] is None
    with pytest.raises(NotApplicable):
        make_method("certified_update", {}).unlearn(replace(problem_of(), spent=None))


def test_jobs_queued_before_there_were_budgets_have_none() -> None:
    given = Job(method="influence", parameters={}, policy={})
    assert run(given, problem_of())[0] == "influence"
    assert run(Job(method="influence", parameters={}, policy=None), problem_of())[0] == "influence"


def test_drift_is_the_distance_as_a_share_of_the_norm() -> None:
    problem = problem_of()
    update = make_method("influence", {}).unlearn(problem)
    new = apply_update(problem.model, update)
    moved, size = 0.0, 0.0
    for old, now in zip(problem.model.parameters(), new.parameters(), strict=True):
        moved += float((old - now).double().square().sum().detach())
        size += float(old.double().square().sum().detach())
    assert drift_of(problem.model, update) == pytest.approx((moved / size) ** 0.5, rel=1e-6)
