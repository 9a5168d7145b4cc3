"""The objective of one linear layer, against automatic differentiation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

from app.unlearning.errors import NotApplicable
from app.unlearning.linear_objective import LinearObjective
from app.unlearning.objective import LossName, Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows

CASES: tuple[tuple[LossName, int, tuple[int, ...]], ...] = (
    ("binary_cross_entropy", 1, (4,)),
    ("cross_entropy", 3, (2, 2)),
    ("cross_entropy", 3, (5, 4)),
    ("mean_squared_error", 2, (4,)),
)
SEQUENCE = (5, 4)


def problem_of(name: LossName, outputs: int, shape: tuple[int, ...]) -> Problem:
    """A correction of 6 of 26 rows, of which 20 retained ones stand for 50."""
    draw = torch.Generator().manual_seed(3)
    inputs = torch.randn(26, *shape, generator=draw, dtype=torch.float64)
    targets = torch.randint(0, 2, (26,), generator=draw)
    if shape == SEQUENCE:
        targets = torch.randint(0, 3, (26, 5), generator=draw)
    elif name != "cross_entropy":
        targets = torch.randn(26, outputs, generator=draw, dtype=torch.float64)
    if name == "binary_cross_entropy":
        targets = (targets > 0).double()
    layer = nn.Linear(4, outputs).double()
    before = [] if shape == SEQUENCE else [nn.Flatten()]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return Problem(
        model=nn.Sequential(*before, nn.Dropout(0.5), layer).eval(),
        objective=Objective(name, 0.05),
        kind="label_correction",
        forget=TensorRows(inputs[:6] + 1, targets[:6]),
        replacement=TensorRows(inputs[:6], targets[:6]),
        retained=TensorRows(inputs[6:], targets[6:]),
        retained_total=50,
    )


def slowly(problem: Problem, flat: Tensor) -> Tensor:
    """The edited loss of a flat vector of all parameters, the obvious way."""
    own = problem.parameters
    parts = flat.split([p.numel() for p in own.values()])
    theta = {name: part.view_as(own[name]) for (name, part) in zip(own, parts, strict=True)}
    total = torch.zeros((), dtype=torch.float64)
    for rows, weight in ((problem.retained, 2.5), (problem.replacement, 1.0)):
        for batch in rows.batches(100):
            outputs = functional_call(problem.model, theta, (batch.inputs,))
            total = total + weight * problem.objective.losses(outputs, batch.targets).sum()
    return total / 56 + 0.025 * flat.square().sum()


def flat(values: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values.values()])


@pytest.mark.parametrize(("name", "outputs", "shape"), CASES)
def test_its_derivatives_are_those_of_the_loss(
    name: LossName, outputs: int, shape: tuple[int, ...]
) -> None:
    problem = problem_of(name, outputs, shape)
    theta = problem.parameters
    point = flat(theta)
    hessian = torch.autograd.functional.hessian(lambda v: slowly(problem, v), point)
    leaf = point.clone().requires_grad_()
    (slope,) = torch.autograd.grad(slowly(problem, leaf), leaf)

    objective = LinearObjective(problem)
    value, gradient = objective.loss_and_gradient(theta)

    assert value == pytest.approx(float(slowly(problem, point)), rel=1e-12)
    assert_close(flat(gradient), slope, rtol=1e-10, atol=1e-12)
    # Curvature is taken in float32.
    assert_close(flat(objective.diagonal()), hessian.diagonal(), rtol=1e-5, atol=1e-6)


def test_batches_that_are_not_held_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.unlearning.linear_objective._TOGETHER", 12)
    problem = problem_of("binary_cross_entropy", 1, (4,))
    theta = problem.parameters
    held = LinearObjective(problem)
    held.loss_and_gradient(theta)
    monkeypatch.setattr("app.unlearning.linear_objective._HELD_BYTES", 100)
    fleeting = LinearObjective(problem)
    fleeting.loss_and_gradient(theta)

    for _ in range(2):
        assert_close(fleeting.nearly(theta), held.nearly(theta), rtol=1e-12, atol=0.0)


def test_some_parameters_alone_keep_the_others() -> None:
    problem = problem_of("binary_cross_entropy", 1, (4,))
    theta = problem.parameters
    bias = {"2.bias": theta["2.bias"]}
    objective = LinearObjective(problem)
    value, gradient = objective.loss_and_gradient(theta)

    assert objective.loss_and_gradient(bias)[0] == value
    assert gradient.keys() == theta.keys()
    assert objective.nearly(bias)[1].keys() == bias.keys()


def test_a_network_is_refused() -> None:
    problem = problem_of("binary_cross_entropy", 1, (4,))
    deep = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 1))
    with pytest.raises(NotApplicable):
        LinearObjective(replace(problem, model=deep))


@pytest.mark.parametrize(("name", "outputs", "shape"), CASES)
def test_a_line_has_the_slopes_of_the_loss(
    name: LossName, outputs: int, shape: tuple[int, ...]
) -> None:
    problem = problem_of(name, outputs, shape)
    theta = problem.parameters
    draw = torch.Generator().manual_seed(4)
    direction = {
        name: torch.randn(t.shape, generator=draw, dtype=torch.float64) for name, t in theta.items()
    }
    objective = LinearObjective(problem)
    objective.loss_and_gradient(theta)

    line = objective.line(theta, direction)

    for length in (0.0, 0.7, 2.0):
        part = torch.tensor(length, dtype=torch.float64, requires_grad=True)
        value = slowly(problem, flat(theta) + part * flat(direction))
        (slope,) = torch.autograd.grad(value, part, create_graph=True)
        (bend,) = torch.autograd.grad(slope, part)
        assert line.slope(length) == pytest.approx(slope.item(), rel=1e-9)
        assert line.bend(length) == pytest.approx(bend.item(), rel=1e-9)
        there = {name: theta[name] + length * direction[name] for name in theta}
        beyond = line.outputs(length)
        reached, gradient = LinearObjective(problem).loss_and_gradient(there, beyond)
        afresh, expected = LinearObjective(problem).loss_and_gradient(there)
        assert reached == pytest.approx(afresh, rel=1e-12)
        assert_close(flat(gradient), flat(expected), rtol=1e-9, atol=1e-12)


def test_the_length_of_a_step_is_where_the_loss_is_least() -> None:
    problem = problem_of("binary_cross_entropy", 1, (4,))
    theta = problem.parameters
    objective = LinearObjective(problem)
    _, gradient = objective.loss_and_gradient(theta)
    for scale in (1e-1, 1.0, 1e2):
        direction = {name: -scale * g for name, g in gradient.items()}
        line = objective.line(theta, direction)
        first = float(flat(gradient) @ flat(direction))

        length = line.length(first)

        assert abs(line.slope(length)) <= 0.1 * abs(first)
        there = {name: theta[name] + length * direction[name] for name in theta}
        least = objective.loss_and_gradient(there)[0]
        assert least < objective.loss_and_gradient(theta)[0]


@pytest.mark.parametrize(("name", "outputs", "shape"), CASES)
def test_a_gradient_in_single_precision_is_nearly_that_in_double(
    name: LossName, outputs: int, shape: tuple[int, ...]
) -> None:
    problem = problem_of(name, outputs, shape)
    theta = problem.parameters
    draw = torch.Generator().manual_seed(5)
    direction = {n: torch.randn(t.shape, generator=draw).double() for n, t in theta.items()}
    objective = LinearObjective(problem)
    value, gradient = objective.loss_and_gradient(theta)

    here = objective.nearly(theta)
    line = objective.line(theta, direction, single=True)
    there = {n: theta[n] + 0.5 * direction[n] for n in theta}
    beyond = objective.nearly(there, line.outputs(0.5))

    assert here[0] == pytest.approx(value, rel=1e-12)
    assert_close(flat(here[1]), flat(gradient), rtol=1e-5, atol=1e-6)
    expected = LinearObjective(problem).loss_and_gradient(there)
    assert beyond[0] == pytest.approx(expected[0], rel=1e-5)
    assert_close(flat(beyond[1]), flat(expected[1]), rtol=1e-5, atol=1e-5)
    # The curvature is that at the new point.
    afresh = LinearObjective(problem)
    afresh.loss_and_gradient(there)
    found = flat(objective.diagonal())
    assert_close(found, flat(afresh.diagonal()), rtol=1e-4, atol=1e-5)
