"""The summed objective against autograd, and its constants against the losses themselves."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.certified import SummedObjective
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import LossName, Objective
from app.unlearning.rows import TensorRows, WeightedRows
from tests.unlearning.certified.trained import DEVIATION, Case

LOSSES: tuple[LossName, ...] = ("binary_cross_entropy", "cross_entropy", "mean_squared_error")
POSITIONS = torch.arange(40)


def at_a_point(loss: LossName) -> tuple[Case, SummedObjective, Tensor]:
    case = Case(loss=loss, rows=40)
    theta = torch.randn(case.b.shape, generator=torch.Generator().manual_seed(2)).double()
    return case, case.summed(case.rows(POSITIONS), case.b), theta


def by_autograd(case: Case, theta: Tensor) -> Tensor:
    """F, written the obvious way."""
    outputs = torch.cat([case.X, torch.ones(len(case.X), 1).double()], 1) @ theta.T
    losses = case.objective.losses(outputs, case.y)
    decay = 0.5 * case.objective.weight_decay * theta.square().sum()
    total: Tensor = losses.sum() + len(case.X) * decay + (case.b * theta).sum()
    return total


@pytest.mark.parametrize("loss", LOSSES)
def test_value_and_derivatives_are_those_of_autograd(loss: LossName) -> None:
    case, F, theta = at_a_point(loss)
    assert F.value(theta) == pytest.approx(float(by_autograd(case, theta)), rel=1e-12)
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(by_autograd(case, leaf), leaf)
    assert_close(F.gradient(theta), gradient, rtol=1e-11, atol=1e-11)
    H = torch.autograd.functional.hessian(lambda t: by_autograd(case, t), theta)
    size = theta.numel()
    assert_close(F.hessian(theta), H.reshape(size, size), rtol=1e-11, atol=1e-11)
    v = torch.randn_like(theta)
    expected = (H.reshape(size, size) @ v.flatten()).view_as(v)
    assert_close(F.product(theta, v), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("loss", LOSSES)
def test_without_noise_it_is_the_number_of_rows_times_the_mean_objective(loss: LossName) -> None:
    """A sum and a mean, with one weight decay, over all parameters: the bias too."""
    case = Case(loss=loss, rows=40)
    problem = case.problem(POSITIONS[:0], POSITIONS)
    mean = EditedLoss(problem).gradient(problem.parameters)
    joined = torch.cat([mean["weight"], mean["bias"][:, None]], 1)
    summed = case.summed(case.rows(POSITIONS))
    assert_close(summed.gradient(_theta(case)), 40 * joined, rtol=1e-10, atol=1e-10)
    assert summed.decay == pytest.approx(40 * case.objective.weight_decay)


def _theta(case: Case) -> Tensor:
    return torch.cat([case.model.weight, case.model.bias[:, None]], 1).detach()


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("binary_cross_entropy", 1),
        ("cross_entropy", 2),
        ("cross_entropy", 5),
        ("mean_squared_error", 1),
        ("mean_squared_error", 3),
    ],
)
def test_no_row_exceeds_the_constants(loss: LossName, outputs: int) -> None:
    objective = Objective(loss, 0.1)
    constants = SummedObjective(objective, TensorRows(torch.zeros(1, 1), torch.zeros(1)), False)
    found = constants.constants(outputs)
    generator = torch.Generator().manual_seed(1)
    z = 4 * torch.randn(4000, outputs, generator=generator, dtype=torch.float64)
    away = torch.randn(4000, outputs, generator=generator, dtype=torch.float64)
    y = torch.zeros(4000, dtype=torch.int64) if loss == "cross_entropy" else torch.zeros(4000)
    Q, moved = _hessians(objective, z), _hessians(objective, z + away)
    assert float(torch.linalg.matrix_norm(Q, 2).max()) <= found.bend * (1 + 1e-9)
    twist = torch.linalg.matrix_norm(moved - Q, 2) / away.norm(dim=1)
    assert float(twist.max()) <= found.twist + 1e-12
    if found.slope is not None:
        slope = objective.output_gradient(z, y).norm(dim=1)
        assert float(slope.max()) <= found.slope * (1 + 1e-9)


def test_the_constants_are_attained() -> None:
    """At p = (1 - 1 / sqrt 3) / 2, for one output and between two classes."""
    p = 0.5 * (1 - 1 / math.sqrt(3))
    logit = math.log(p / (1 - p))
    step = 1e-4
    cases: tuple[tuple[LossName, Tensor, Tensor], ...] = (
        ("binary_cross_entropy", torch.tensor([[logit]]), torch.tensor([[1.0]])),
        (
            "cross_entropy",
            torch.tensor([[logit / 2, -logit / 2]]),
            torch.tensor([[1.0, -1.0]]) / math.sqrt(2),
        ),
    )
    for loss, z, direction in cases:
        objective = Objective(loss, 0.1)
        rows = TensorRows(torch.zeros(1, 1), torch.zeros(1))
        twist = SummedObjective(objective, rows, False).constants(z.shape[1]).twist
        here, there = (
            _hessians(objective, z.double() + t * direction.double()) for t in (0.0, step)
        )
        change = float(torch.linalg.matrix_norm(there - here, 2)) / step
        assert change == pytest.approx(twist, rel=1e-3)


def _hessians(objective: Objective, z: Tensor) -> Tensor:
    columns = []
    for k in range(z.shape[1]):
        unit = torch.zeros_like(z)
        unit[:, k] = 1.0
        columns.append(objective.output_curvature_product(z, unit))
    return torch.stack(columns, 2)


def test_the_norms_are_those_of_the_features_and_the_one() -> None:
    case = Case(rows=40)
    A = torch.cat([case.X, torch.ones(40, 1).double()], 1)
    radius, spectral = case.summed(case.rows(POSITIONS)).norms
    assert radius == pytest.approx(float(A.norm(dim=1).max()))
    assert spectral == pytest.approx(float(torch.linalg.matrix_norm(A, 2)))
    assert spectral >= float(torch.linalg.matrix_norm(A, 2))


def test_too_many_features_take_the_frobenius_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.unlearning.certified.summed_objective._GRAM_LIMIT", 3)
    case = Case(rows=40)
    A = torch.cat([case.X, torch.ones(40, 1).double()], 1)
    _, spectral = case.summed(case.rows(POSITIONS)).norms
    assert spectral == pytest.approx(float(A.norm()))


def test_rows_that_stand_for_others_are_refused() -> None:
    case = Case(rows=40)
    sampled = WeightedRows(case.rows(POSITIONS), 2.0)
    with pytest.raises(NotApplicable):
        case.summed(sampled).gradient(case.b)


def test_twice_the_rows_and_twice_the_noise_have_the_same_optimum() -> None:
    """The noise belongs to the sum, so its share of the objective falls with the rows."""
    case = Case(rows=40)
    twice = case.rows(torch.cat([POSITIONS, POSITIONS]))
    assert_close(
        case.optimum(twice, 2 * case.b),
        case.optimum(case.rows(POSITIONS), case.b),
        rtol=0.0,
        atol=1e-9,
    )
    assert float(case.b.norm()) > DEVIATION
