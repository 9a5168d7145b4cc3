"""What single rows add to the curvature of a linear layer, against its Hessian."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.objective import LossName
from app.unlearning.row_curvature import row_lines, row_weights
from app.unlearning.selection import Selection
from tests.unlearning.test_linear_objective import CASES, flat, problem_of, slowly


def hessian_of(name: LossName, outputs: int, shape: tuple[int, ...]) -> Tensor:
    """Of the losses alone, at the network's parameters."""
    problem = problem_of(name, outputs, shape)
    point = flat(problem.parameters)
    whole = torch.autograd.functional.hessian(lambda v: slowly(problem, v), point)
    return whole - problem.objective.weight_decay * torch.eye(len(point))


@pytest.mark.parametrize(("name", "outputs", "shape"), CASES)
def test_the_lines_of_all_rows_are_a_root_of_the_hessian(
    name: LossName, outputs: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several batches.
    monkeypatch.setattr("app.unlearning.linear_objective._TOGETHER", 28)
    problem = problem_of(name, outputs, shape)
    expected = hessian_of(name, outputs, shape)
    theta = problem.parameters
    draw = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(t.shape, generator=draw) < 0.6 for n, t in theta.items()}
    for selection in (Selection.everything(theta), Selection(masks)):
        objective = LinearObjective(problem)
        objective.loss_and_gradient(theta)
        chosen = selection.gather({n: torch.ones_like(t) for n, t in theta.items()})
        spots = flat({n: m.double() for n, m in selection.masks.items()}).nonzero()[:, 0]
        assert len(chosen) == len(spots)

        lines = row_lines(objective, torch.arange(26), selection)

        assert lines.shape[:2] == (26, objective.lines_of_a_row)
        every = lines.double().flatten(0, 1)
        assert_close(every.t() @ every, expected[spots][:, spots], rtol=1e-5, atol=1e-6)
        inverse = torch.rand(len(spots), generator=draw, dtype=torch.float64)
        weights = row_weights(objective, selection.scatter(inverse))
        heavy = (lines.double().square() * inverse).sum((1, 2))
        assert_close(weights, heavy, rtol=1e-5, atol=1e-7)
        some = row_lines(objective, torch.tensor([1, 7, 25]), selection)
        assert torch.equal(some, lines[[1, 7, 25]])
