"""What a few steps and the changes of the gradient say of the inverse of the curvature."""

import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.solvers.secant_pairs import SecantPairs


def quadratic(size: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(size, size, generator=draw, dtype=torch.float64)
    return root @ root.t() + torch.eye(size), torch.randn(size, generator=draw).double()


def by_formula(base: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The inverse by the BFGS formula, one dense update for each pair."""
    inverse = base
    for step, change in pairs:
        rho = 1 / (step @ change)
        left = torch.eye(len(step)).double() - rho * torch.outer(step, change)
        inverse = left @ inverse @ left.t() + rho * torch.outer(step, step)
    return inverse


def test_it_is_the_bfgs_formula() -> None:
    H, vector = quadratic(6)
    draw = torch.Generator().manual_seed(1)
    steps = [torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(4)]
    pairs = [(step, H @ step) for step in steps]
    base = torch.diag(1 / H.diagonal())
    remembered = SecantPairs(3)
    for step, change in pairs:
        remembered.remember(step, change)

    assert len(remembered) == 3
    found = remembered.applied(vector, lambda v: v / H.diagonal())
    assert_close(found, by_formula(base, pairs[-3:]) @ vector)
    step, change = pairs[-1]
    scale = (step @ change) / (change @ change) * torch.eye(6).double()
    assert_close(remembered.applied(vector), by_formula(scale, pairs[-3:]) @ vector)
    assert_close(remembered.applied(change), step)


def test_pairs_without_curvature_are_left_out() -> None:
    pairs = SecantPairs(5)
    vector = torch.tensor([1.0, -2.0]).double()
    pairs.remember(vector, -vector)
    pairs.remember(vector, torch.tensor([2.0, 1.0]).double())

    assert len(pairs) == 0
    assert torch.equal(pairs.applied(vector), vector)
    pairs.remember(vector, 2 * vector)
    pairs.clear()
    assert torch.equal(pairs.applied(vector, lambda v: 3 * v), 3 * vector)
