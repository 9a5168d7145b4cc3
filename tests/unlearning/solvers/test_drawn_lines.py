"""Which rows are drawn, and the preconditioner that their lines give."""

import pytest
import torch
from torch.testing import assert_close

from app.unlearning.solvers.drawn_lines import inclusion, preconditioner


@pytest.mark.parametrize("count", [1, 5, 20, 49])
def test_rows_are_drawn_in_proportion_and_the_heaviest_for_certain(count: int) -> None:
    weights = torch.rand(50, generator=torch.Generator().manual_seed(count)).double().pow(6) + 1e-9

    chances = inclusion(weights, count)

    assert float(chances.sum()) == pytest.approx(count, rel=1e-9)
    certain = chances == 1
    factor = chances[~certain] / weights[~certain]
    assert_close(factor, factor[:1].expand_as(factor), rtol=1e-9, atol=0.0)
    # A certain row would be drawn with more than one.
    assert bool((weights[certain] * factor[0] >= 1 - 1e-9).all())


def test_rows_without_weight_are_never_drawn_and_few_always() -> None:
    weights = torch.tensor([0.0, 2.0, 1e-30, 0.0]).double()

    assert inclusion(weights, 3).tolist() == [0, 1, 1, 0]
    assert inclusion(weights, 0).tolist() == [0, 0, 0, 0]
    assert inclusion(torch.ones(3).double(), 1).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("lines", [0, 4, 12, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_preconditioner_inverts_the_lines_and_what_they_leave_of_the_diagonal(
    lines: int, dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(lines)
    J = torch.randn(60, 12, generator=draw, dtype=torch.float64)
    drawn = J[:lines].to(dtype)
    h = J.square().sum(0) + 0.3
    P = drawn.double().t() @ drawn.double()
    P += torch.diag(h - P.diagonal())
    vector = torch.randn(12, generator=draw, dtype=torch.float64)

    found = preconditioner(drawn, h, 0.3)(vector)

    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert_close(found, torch.linalg.solve(P, vector), rtol=tolerance, atol=tolerance)


def test_lines_that_hold_more_than_the_diagonal_leave_the_floor() -> None:
    J = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double()
    h = torch.tensor([3.0, 1.5]).double()
    vector = torch.tensor([1.0, 1.0]).double()

    found = preconditioner(J, h, 0.25)(vector)

    assert_close(found, 1 / torch.tensor([4.25, 1.5]).double())


@pytest.mark.parametrize(("lines", "scalars"), [(40, 60), (300, 60), (300, 500)])
def test_dependent_lines_without_a_floor_still_give_a_positive_inverse(
    lines: int, scalars: int
) -> None:
    draw = torch.Generator().manual_seed(0)
    J = torch.randn(lines, scalars, generator=draw, dtype=torch.float64)
    J *= torch.logspace(-3, 3, scalars, dtype=torch.float64)
    J[:, scalars // 2 :] = J[:, : scalars - scalars // 2]
    inverted = preconditioner(J.float(), J.square().sum(0), 0.0)
    for _ in range(20):
        vector = torch.randn(scalars, generator=draw, dtype=torch.float64)
        assert float(vector @ inverted(vector)) > 0
