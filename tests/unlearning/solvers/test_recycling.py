"""The preconditioner that remembers products."""

import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.solvers import conjugate_gradient
from app.unlearning.solvers.recycling import Recycling


def matrix(seed: int, size: int = 40) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    values = torch.logspace(-3, 0, size, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64)).Q
    return basis * values @ basis.t()


def test_it_inverts_the_matrix_where_it_has_been() -> None:
    H = matrix(0)
    memory = Recycling(lambda v: v)
    seen = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)).double()
    for direction in seen:
        memory.remember(direction, H @ direction)

    P = memory.preconditioner()

    assert_close(P(H @ seen[2]), seen[2], rtol=1e-8, atol=1e-8)
    whole = torch.stack([P(unit) for unit in torch.eye(40, dtype=torch.float64)])
    assert_close(whole, whole.t(), rtol=0.0, atol=1e-8)
    assert float(torch.linalg.eigvalsh(whole).min()) > 0


def test_a_second_solve_with_almost_the_same_matrix_takes_fewer_products() -> None:
    H = matrix(0)
    change = 1e-4 * matrix(5)
    right = torch.randn(40, generator=torch.Generator().manual_seed(2)).double()
    memory = Recycling(lambda v: v)

    def product(vector: Tensor) -> Tensor:
        memory.remember(vector, H @ vector)
        return H @ vector

    first = conjugate_gradient(product, right, tolerance=1e-3, conditioner=memory.preconditioner())
    plain = conjugate_gradient(lambda v: (H + change) @ v, right, tolerance=1e-3)
    again = conjugate_gradient(
        lambda v: (H + change) @ v, right, tolerance=1e-3, conditioner=memory.preconditioner()
    )

    assert again.residual <= 1e-2
    assert again.steps < plain.steps / 2
    assert first.steps == plain.steps or abs(first.steps - plain.steps) <= 1


def test_what_contradicts_itself_is_forgotten() -> None:
    memory = Recycling(lambda v: 2 * v)
    unit = torch.eye(3, dtype=torch.float64)
    memory.remember(unit[0], -unit[0])

    assert_close(memory.preconditioner()(unit[1]), 2 * unit[1], rtol=0.0, atol=0.0)
