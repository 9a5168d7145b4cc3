"""Several damped systems solved together, against each solved alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.errors import NonFinite
from app.unlearning.solvers import conjugate_gradient, damping_path

DAMPINGS = (1e-2, 1e-1, 1.0, 10.0)


def semidefinite(size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A badly scaled matrix of half rank, a right side and a metric."""
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(size, (size + 1) // 2, dtype=torch.float64, generator=draw)
    scales = torch.logspace(0, 1, size, dtype=torch.float64)
    matrix = scales[:, None] * (root @ root.T) * scales / size
    right = torch.randn(size, dtype=torch.float64, generator=draw)
    return matrix, right, matrix.diagonal() + 0.1


@given(size=st.integers(1, 14), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_every_damping_is_solved(size: int, seed: int) -> None:
    matrix, right, metric = semidefinite(size, seed)
    solves = damping_path(
        lambda v: matrix @ v, right, DAMPINGS, metric, tolerance=1e-11, max_steps=4 * size + 4
    )
    for damping, solve in zip(DAMPINGS, solves, strict=True):
        expected = torch.linalg.solve(matrix + damping * metric.diag(), right)
        assert_close(solve.solution, expected, rtol=1e-6, atol=1e-9)
        assert not solve.indefinite


def test_they_cost_what_the_least_damped_one_costs_alone() -> None:
    matrix, right, metric = semidefinite(40, 3)
    products = 0

    def product(vector: Tensor) -> Tensor:
        nonlocal products
        products += 1
        return matrix @ vector

    solves = damping_path(product, right, DAMPINGS, metric, tolerance=1e-6)
    assert {solve.steps for solve in solves} == {products}
    damped = matrix + DAMPINGS[0] * metric.diag()
    alone = conjugate_gradient(
        lambda v: damped @ v, right, tolerance=1e-6, diagonal=damped.diagonal()
    )
    assert products <= alone.steps + 2


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_solve_that_stopped_early_knows_its_residual(steps: int) -> None:
    matrix, right, metric = semidefinite(30, 2)
    solves = damping_path(
        lambda v: matrix @ v, right, DAMPINGS, metric, tolerance=1e-12, max_steps=steps
    )
    for damping, solve in zip(DAMPINGS, solves, strict=True):
        apart = right - matrix @ solve.solution - damping * metric * solve.solution
        expected = (apart / metric.sqrt()).norm() / (right / metric.sqrt()).norm()
        assert solve.residual == pytest.approx(float(expected), rel=1e-6)
    assert [s.residual for s in solves] == sorted((s.residual for s in solves), reverse=True)


def test_every_solution_on_the_way_is_a_direction_of_descent() -> None:
    matrix, right, metric = semidefinite(30, 5)
    for steps in range(1, 12):
        for solve in damping_path(
            lambda v: matrix @ v, right, DAMPINGS, metric, tolerance=0.0, max_steps=steps
        ):
            assert float(solve.solution @ right) > 0


def test_what_cannot_be_solved_says_so() -> None:
    ones = torch.ones(3)
    negative = torch.diag(torch.tensor([1.0, -5.0, 2.0]))
    assert damping_path(lambda v: negative @ v, ones, [0.1], ones)[0].indefinite
    with pytest.raises(NonFinite):
        damping_path(lambda v: v * float("nan"), ones, [0.1], ones)
    assert damping_path(lambda v: v, 0 * ones, [0.1, 1.0], ones)[1].steps == 0
