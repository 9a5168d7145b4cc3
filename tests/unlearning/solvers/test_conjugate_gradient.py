"""Conjugate gradients against a direct solve."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.errors import NonFinite
from app.unlearning.solvers import conjugate_gradient


def _positive_definite(size: int, seed: int, *, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, dtype=torch.float64, generator=generator)
    scales = torch.logspace(0, spread, size, dtype=torch.float64)
    matrix = (
        scales[:, None] * (root @ root.T / size + torch.eye(size, dtype=torch.float64)) * scales
    )
    return matrix, torch.randn(size, dtype=torch.float64, generator=generator)


@given(size=st.integers(1, 12), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_as_many_steps_as_unknowns_solve_the_system(size: int, seed: int) -> None:
    matrix, right = _positive_definite(size, seed)
    solve = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-10, max_steps=3 * size)
    assert_close(solve.solution, torch.linalg.solve(matrix, right), rtol=1e-6, atol=1e-9)
    assert solve.residual <= 1e-8
    assert not solve.indefinite


def test_the_preconditioner_saves_steps_on_badly_scaled_systems() -> None:
    matrix, right = _positive_definite(60, 1, spread=3.0)
    plain = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-8, max_steps=600)
    scaled = conjugate_gradient(
        lambda v: matrix @ v, right, tolerance=1e-8, max_steps=600, diagonal=matrix.diagonal()
    )
    assert scaled.steps < plain.steps / 2
    assert_close(scaled.solution, torch.linalg.solve(matrix, right), rtol=1e-5, atol=1e-12)


def test_a_solve_that_stopped_early_says_so() -> None:
    matrix, right = _positive_definite(30, 2, spread=2.0)
    solve = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-12, max_steps=2)
    assert solve.steps == 3
    expected = (right - matrix @ solve.solution).norm() / right.norm()
    assert solve.residual == pytest.approx(float(expected))
    assert solve.residual > 1e-3


def test_negative_curvature_stops_the_solve() -> None:
    matrix = torch.diag(torch.tensor([1.0, -1.0, 2.0]))
    solve = conjugate_gradient(lambda v: matrix @ v, torch.tensor([0.1, 1.0, 0.1]))
    assert solve.indefinite
    assert solve.residual > 1e-6


def test_nothing_to_solve_costs_nothing() -> None:
    solve = conjugate_gradient(lambda v: v, torch.zeros(4))
    assert (solve.steps, solve.residual) == (0, 0.0)
    assert not solve.solution.any()


def test_products_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(NonFinite):
        conjugate_gradient(lambda v: v * float("nan"), torch.ones(3))


def test_any_preconditioner_can_stand_in_for_the_diagonal() -> None:
    size = 40
    scales = torch.logspace(0, 4, size, dtype=torch.float64)
    matrix = torch.diag(scales) + torch.ones(size, size, dtype=torch.float64)
    right = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inverse = torch.linalg.inv(matrix)

    exact = conjugate_gradient(
        lambda v: matrix @ v, right, tolerance=1e-8, conditioner=lambda v: inverse @ v
    )
    by_diagonal = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-8, diagonal=scales)
    the_same = conjugate_gradient(
        lambda v: matrix @ v, right, tolerance=1e-8, conditioner=lambda v: v / scales
    )

    assert exact.steps == 2
    assert_close(the_same.solution, by_diagonal.solution, rtol=0.0, atol=0.0)
    assert by_diagonal.steps > exact.steps


def test_a_residual_that_is_not_verified_costs_no_product() -> None:
    matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    right = torch.ones(8, dtype=torch.float64)
    verified = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-3)

    trusted = conjugate_gradient(lambda v: matrix @ v, right, tolerance=1e-3, verify=False)

    assert trusted.steps == verified.steps - 1
    assert trusted.residual == pytest.approx(verified.residual, rel=1e-6)
