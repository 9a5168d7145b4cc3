"""The recursion LiSSA against dense solves and its own closed form, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.solvers import lissa


def spectrum(*eigenvalues: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix with these eigenvalues, its eigenvectors as columns, and a right side."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    right = torch.randn(size, dtype=torch.float64, generator=generator)
    return basis @ torch.diag(values) @ basis.T, basis, right


@given(seed=st.integers(0, 1000), damping=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_converged_recursion_is_the_dense_solve(seed: int, damping: float) -> None:
    H, _, v = spectrum(0.5, 1.0, 3.0, 7.0, seed=seed)

    found = lissa(lambda x: H @ x, v, damping=damping, tolerance=1e-10, max_steps=5000)

    assert found.converged
    assert found.residual <= 1e-10
    damped = H + damping * torch.eye(4, dtype=torch.float64)
    # The residual is at most 1e-10 of the right side, and the smallest eigenvalue is 0.5.
    assert_close(found.solution, torch.linalg.solve(damped, v), rtol=0.0, atol=1e-9)


def test_a_recursion_that_stops_early_is_a_gradient_step_and_says_so() -> None:
    """(T + 1) / s times the right side wherever the eigenvalue is far below s / T."""
    H, basis, v = spectrum(1e-6, 1e-5, 1e3)
    scale, steps = 4e3, 50

    found = lissa(lambda x: H @ x, v, damping=0.0, tolerance=1e-2, max_steps=steps, scale=scale)

    assert not found.converged
    seen = basis.T @ found.solution / (basis.T @ v)
    assert_close(
        seen[:2], torch.full((2,), (steps + 1) / scale, dtype=torch.float64), rtol=1e-6, atol=0.0
    )
    # Where the curvature is large it has converged all the same: 0.75^51 is below 1e-6.
    assert_close(seen[2], torch.tensor(1e-3, dtype=torch.float64), rtol=1e-6, atol=0.0)
    expected = (v - H @ found.solution).norm() / v.norm()
    assert found.residual == pytest.approx(float(expected))


def test_the_damping_is_the_one_of_the_fixed_point() -> None:
    """Warnecke's rho is damping / scale: the fixed point does not depend on the scale."""
    H, _, v = spectrum(0.1, 2.0, 5.0)
    solutions = [
        lissa(
            lambda x: H @ x, v, damping=0.3, tolerance=1e-12, max_steps=20_000, scale=scale
        ).solution
        for scale in (6.0, 60.0)
    ]
    assert_close(solutions[0], solutions[1], rtol=0.0, atol=1e-10)


def test_a_scale_below_the_largest_eigenvalue_diverges_and_says_so() -> None:
    H, _, v = spectrum(0.1, 1.0, 50.0)

    found = lissa(lambda x: H @ x, v, damping=0.0, tolerance=1e-2, max_steps=1000, scale=10.0)

    assert not found.converged
    assert math.isinf(found.residual)
    assert not torch.isfinite(found.solution).all()


def test_nothing_to_solve_takes_no_products() -> None:
    H, _, _ = spectrum(1.0, 2.0)
    zero = torch.zeros(2, dtype=torch.float64)

    found = lissa(lambda x: H @ x, zero, damping=0.0, tolerance=1e-6, max_steps=10)

    assert found.converged
    assert found.products == 0
    assert not found.solution.any()


def test_batches_are_unbiased_and_averaging_recursions_takes_their_noise_off() -> None:
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(400, 4, dtype=torch.float64, generator=generator)
    H = X.T @ X / len(X)
    v = torch.randn(4, dtype=torch.float64, generator=generator)

    def run(repetitions: int) -> tuple[float, bool, int]:
        drawn = torch.Generator().manual_seed(repetitions)

        def batch_product(x: Tensor) -> Tensor:
            B = X[torch.randint(len(X), (40,), generator=drawn)]
            return B.T @ (B @ x) / len(B)

        found = lissa(
            lambda x: H @ x,
            v,
            damping=0.1,
            tolerance=1e-6,
            max_steps=200,
            batch_product=batch_product,
            repetitions=repetitions,
            scale=30.0,
        )
        return found.residual, found.converged, found.batch_products

    one, one_converged, products = run(1)
    many, _, _ = run(25)
    assert products == 200
    # Noise of batches leaves a residual that no tolerance of 1e-6 lets pass; the mean of 25 has a
    # fifth of it.
    assert not one_converged
    assert 1e-4 < one < 0.5
    assert many < one / 2
