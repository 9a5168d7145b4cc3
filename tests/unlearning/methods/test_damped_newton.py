"""One damped step: the same by the block and by products, and never upwards."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.double_precision import in_float64
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.damped_newton import NewtonStep, Solving, newton_step
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.selection import Selection, random_scores, select_extreme
from tests.unlearning.methods.problems import network


def chosen(problem: Problem, count: int, seed: int) -> Selection:
    return select_extreme(random_scores(problem.parameters, seed), count).touched()


def step(
    problem: Problem, selection: Selection, gradient: Tensor | None, damping: float, how: Solving
) -> tuple[float, NewtonStep | None]:
    theta = {name: problem.parameters[name] for name in selection.names}
    loss = EditedLoss(problem)
    current, slope = loss.loss_and_gradient(theta)
    found = newton_step(
        loss,
        EditedCurvature(problem, theta, selection),
        theta,
        selection,
        selection.gather(slope) if gradient is None else gradient,
        current=current,
        damping=damping,
        how=how,
    )
    return current, found


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_the_block_and_the_products_give_one_step(damping: float) -> None:
    problem = in_float64(network("label_correction"))
    # The block knows its diagonal; products take the one kept with the version.
    selection = chosen(problem, 60, 1)
    theta = {name: problem.parameters[name] for name in selection.names}
    curvature = EditedCurvature(problem, theta, selection)
    diagonal = curvature.block().diagonal() - problem.objective.weight_decay
    problem = replace(problem, curvature=StoredCurvature(selection.scatter(diagonal), "ggn", 120))

    _, by_block = step(problem, selection, None, damping, Solving())
    _, by_products = step(problem, selection, None, damping, Solving(0, max_products=500))

    assert by_block is not None
    assert by_products is not None
    assert by_block.damping == pytest.approx(by_products.damping)
    for name, value in by_block.theta.items():
        moved = value - problem.parameters[name]
        apart = by_products.theta[name] - value
        # Products stop at a relative residual of 1e-4.
        assert float(apart.norm()) <= 1e-2 * float(moved.norm()) + 1e-12
    assert by_products.converged


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 200),
    damping=st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 100.0]),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    by_products=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_step_that_is_taken_lowers_the_edited_loss(
    seed: int, count: int, damping: float, scale: float, by_products: bool
) -> None:
    """Wherever the network stands, trained or thrown far away."""
    problem = network("label_correction")
    torch.manual_seed(seed)
    values = {n: scale * torch.randn_like(p) for n, p in problem.parameters.items()}
    problem = problem.at(values)
    selection = chosen(problem, count, seed)

    current, found = step(
        problem, selection, None, damping, Solving(0 if by_products else 480, max_products=5)
    )

    if found is None:
        return
    assert found.loss < current
    theta = {**problem.parameters, **found.theta}
    assert EditedLoss(problem).loss(theta) == pytest.approx(found.loss, rel=1e-6)


def test_a_direction_that_only_rises_is_not_taken() -> None:
    problem = network("label_correction")
    selection = chosen(problem, 40, 3)
    theta = {name: problem.parameters[name] for name in selection.names}
    uphill = -selection.gather(EditedLoss(problem).gradient(theta))

    _, found = step(problem, selection, uphill, 1e-2, Solving())

    assert found is None


def test_scalars_without_any_curvature_stay_within_bounds() -> None:
    """A dead unit has no curvature; its scalars must not run away."""
    problem = network("label_correction")
    dead = problem.parameters["5.bias"].clone()
    dead[:8] = -1e6
    problem = problem.at({"5.bias": dead})
    selection = Selection({"7.weight": torch.ones(3, 16, dtype=torch.bool)})

    current, found = step(problem, selection, None, 1e-2, Solving())

    assert found is not None
    assert found.loss < current
    moved = found.theta["7.weight"] - problem.parameters["7.weight"]
    assert_close(moved[:, :8], torch.zeros(3, 8), rtol=0, atol=0.1)
