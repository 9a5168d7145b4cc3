"""Fifty requests of one row each, one after the other, against training again after each."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from app.unlearning.errors import BudgetSpent
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.update import Update
from tests.unlearning.certified.trained import (
    Case,
    edited,
    layer_of,
    published,
    random_bytes,
    theta_of,
)

ROWS, REQUESTS = 400, 50


def successive(case: Case, count: int) -> list[tuple[Tensor, Tensor]]:
    """For each request the row to delete and the rows that stay."""
    order = torch.randperm(len(case.X), generator=torch.Generator().manual_seed(8))
    return [(order[i : i + 1], order[i + 1 :].sort().values) for i in range(count)]


def quiet(dtype: torch.dtype) -> Case:
    """A logistic regression without noise, at its optimum."""
    case = Case(rows=ROWS, decay=0.01, dtype=dtype)
    case.b = torch.zeros_like(case.b)
    case.model = layer_of(case.optimum(case.rows(torch.arange(ROWS)), case.b), dtype)
    return case


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_influence_stays_at_the_retrained_optimum(dtype: torch.dtype) -> None:
    case = quiet(dtype)
    model: nn.Module = case.model
    first = theta_of(model)
    for gone, kept in successive(case, REQUESTS):
        problem = case.problem(gone, kept, model=model)
        update = make_method("influence", {}).unlearn(problem)
        model = published(problem, update)
        wanted = case.optimum(case.rows(kept), case.b)
        bound = update.diagnostics["distance_to_optimum_at_most"]
        assert isinstance(bound, float)
        away = float((theta_of(model) - wanted).norm())
        # The reference itself is good to 1e-12 of the mean gradient over the weight decay.
        assert away <= bound + 1e-9
    # Errors do not add up: float32 keeps seven digits of what has moved this far.
    assert away < (1e-6 if dtype == torch.float32 else 1e-7)
    assert float((theta_of(model) - first).norm()) > 0.05


def test_single_steps_need_the_curvature_of_the_data_they_reach() -> None:
    """One Newton step for each request: with the curvature of the moment, and with the first."""
    case = quiet(torch.float64)
    model: nn.Module = case.model
    everything = case.summed(case.rows(torch.arange(ROWS)))
    first = everything.hessian(theta_of(model)) / ROWS
    stale = theta_of(model)
    for gone, kept in successive(case, REQUESTS):
        problem = case.problem(gone, kept, model=model)
        one_step = make_method("influence", {"solver": "exact", "damping": 0.0})
        model = published(problem, one_step.unlearn(problem))
        # What the row's absence adds to the mean gradient, as Warnecke et al. have it.
        change = -case.summed(case.rows(gone)).gradient(stale) / len(kept)
        stale = stale - torch.linalg.solve(first, change.flatten()).view_as(stale)
        wanted = case.optimum(case.rows(kept), case.b)
    fresh_error = float((theta_of(model) - wanted).norm())
    stale_error = float((stale - wanted).norm())
    moved = float((wanted - theta_of(case.model)).norm())
    assert fresh_error < 0.01 * moved
    assert stale_error > 2 * fresh_error


@pytest.mark.parametrize("name", ["certified_update", "certified_removal"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_left_of_the_noisy_gradient_never_exceeds_what_is_spent(
    name: str, dtype: torch.dtype
) -> None:
    case = Case(rows=ROWS, decay=0.02, dtype=dtype)
    model: nn.Module = case.model
    spent = case.residual(model, case.rows(torch.arange(ROWS)))
    for gone, kept in successive(case, REQUESTS):
        problem = case.problem(gone, kept, model=model, spent=spent)
        update = make_method(name, {}).unlearn(problem)
        before, spent = spent, spent_of(update)
        model = published(problem, update)
        assert spent >= before
        left = case.residual(model, edited(problem))
        assert left <= spent * (1 + 1e-6) + 1e-9
        # Strong convexity turns the residual into a distance to the retrained optimum.
        wanted = case.optimum(case.rows(kept), case.b)
        away = float((theta_of(model) - wanted).norm())
        assert away <= spent / (len(kept) * case.objective.weight_decay) + 1e-9


def spent_of(update: Update) -> float:
    assert update.certified is not None
    spent = update.certified["spent"]
    assert isinstance(spent, float)
    return spent


def test_a_budget_runs_out_and_training_again_renews_it() -> None:
    case = Case(rows=ROWS, decay=0.02, deviation=0.1)
    method = make_method("certified_removal", {})
    model: nn.Module = case.model
    spent, retrained, since = 0.0, [], 0
    for number, (gone, kept) in enumerate(successive(case, REQUESTS)):
        problem: Problem = case.problem(gone, kept, model=model, spent=spent)
        try:
            update = method.unlearn(problem)
            since += 1
        except BudgetSpent:
            again = replace(problem, random_bytes=random_bytes(number))
            update = make_method("retrain", {}).unlearn(again)
            retrained.append(since)
            since = 0
        model, spent = published(problem, update), spent_of(update)
    # The bound of one removal is a known share of the budget, so the number does not vary much.
    assert len(retrained) >= 2
    assert all(count >= 1 for count in retrained)
    assert max(retrained) <= 3 * min(retrained)


def test_the_bounds_hold_in_many_random_deletions() -> None:
    """A small version of ``benchmarks/certified.py``: each deletion from the trained model."""
    case = Case(rows=ROWS, decay=0.02, deviation=100.0)
    generator = torch.Generator().manual_seed(2)
    for _ in range(60):
        size = int(torch.randint(1, 20, (1,), generator=generator))
        order = torch.randperm(ROWS, generator=generator)
        problem = case.problem(order[:size], order[size:])
        update = make_method("certified_removal", {"epsilon": 10.0}).unlearn(problem)
        facts = update.diagnostics
        left = case.residual(published(problem, update), edited(problem))
        data, worst = facts["residual_data_dependent_bound"], facts["residual_worst_case_bound"]
        assert isinstance(data, float)
        assert isinstance(worst, float)
        assert left <= data <= worst
