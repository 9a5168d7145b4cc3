"""Bounds on what a choice of coordinates can close, against every choice there is."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.problem import Problem
from app.unlearning.selection import Selection
from benchmarks.quality import convex_ceiling
from benchmarks.quality.convex_cases import Data, Edit, problem_of
from benchmarks.quality.convex_ceiling import at_most, by_trial, shares


def small() -> tuple[Problem, dict[str, Tensor], float]:
    """A deletion of 30 of 150 rows with 6 coordinates; its optimum and the loss there."""
    draw = torch.Generator().manual_seed(3)
    X = torch.randn(150, 5, generator=draw, dtype=torch.float64)
    X[:, 1] += X[:, 0]
    y = (X[:, 0] + torch.randn(150, generator=draw) > 0).double()
    data = Data(X, y, torch.zeros(150, dtype=torch.int64))
    theta = convex_optimum(problem_of(data, None, None), tolerance=1e-11, max_steps=50).theta
    problem = problem_of(data, Edit("first rows deleted", y.nonzero()[:30, 0]), theta)
    found = convex_optimum(problem, tolerance=1e-11, max_steps=50)
    return problem, found.theta, found.loss_after


def best_of_all(problem: Problem, least: float, count: int) -> float:
    """What the best choice closes, each minimised by the library."""
    before = LinearObjective(problem).loss_and_gradient(problem.parameters)[0]
    reached = []
    for chosen in combinations(range(6), count):
        mask = torch.zeros(6, dtype=torch.bool)
        mask[list(chosen)] = True
        selection = Selection({"0.weight": mask[None, :5], "0.bias": mask[5:]})
        found = convex_optimum(problem, tolerance=1e-10, max_steps=50, selection=selection)
        reached.append(found.loss_after)
    return (before - min(reached)) / (before - least)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_choice_exceeds_the_bounds(count: int) -> None:
    problem, target, least = small()
    best = best_of_all(problem, least, count)

    tried = by_trial(problem, least, count)

    assert tried == pytest.approx(best, rel=1e-6)
    assert best - 1e-9 <= at_most(problem, least, target, count)
    assert 0.0 < best < 1.0


def test_the_bound_holds_wherever_the_relaxation_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, target, least = small()
    best = best_of_all(problem, least, 2)
    bounds = []
    for rounds in (1, 2, 30):
        monkeypatch.setattr(convex_ceiling, "ROUNDS", rounds)
        bounds.append(at_most(problem, least, target, 2))

    assert min(bounds) >= best - 1e-9
    assert bounds[0] >= bounds[1] >= bounds[2]


def test_with_strong_decay_the_bound_is_tight() -> None:
    """Where the decay is most of the curvature, choosing is all but separable."""
    problem, _, _ = small()
    strong = type(problem.objective)("binary_cross_entropy", 20.0)
    problem.objective = strong
    found = convex_optimum(problem, tolerance=1e-11, max_steps=50)
    for count in (1, 3):
        best = best_of_all(problem, found.loss_after, count)
        assert at_most(problem, found.loss_after, found.theta, count) <= best + 0.02


def test_too_many_choices_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _, least = small()
    monkeypatch.setattr(convex_ceiling, "MOST_CHOICES", math.comb(6, 3) - 1)
    assert by_trial(problem, least, 3) is None
    assert by_trial(problem, least, 2) is not None


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_shares_minimise_their_sum(count: int) -> None:
    sizes = 0.02 + torch.rand(8, generator=torch.Generator().manual_seed(count)).double().pow(3)

    found = shares(sizes, count)

    assert float(found.sum()) == pytest.approx(count)
    assert bool((found <= 1).all())
    # Where a share is below one, its slope is that of the others; where it is one, no less.
    slopes = (sizes / found).square()
    inner = found < 1
    assert_close(slopes[inner], slopes[inner][:1].expand(int(inner.sum())), rtol=1e-6, atol=0.0)
    assert bool((slopes[~inner] >= slopes[inner][0] * (1 - 1e-6)).all())
