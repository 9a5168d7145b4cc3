"""A mask that shrinks while the last layers learn a correction."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable
from app.unlearning.methods import make_method
from app.unlearning.methods.shrinking_descent import allowed, shrinking_descent
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from app.unlearning.training import initialise, train
from app.unlearning.update import Update, apply_update, changed_scalars
from tests.unlearning.distillation.overfitted import build
from tests.unlearning.methods.problems import network, ridge

RECIPE = Recipe("adam", 3e-3, batch_size=32, epochs=40, seed=1, initialisation_seed=1)
OBJECTIVE = Objective("cross_entropy")


def signals(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four noisy shapes."""
    shapes = torch.randn(4, 20, generator=torch.Generator().manual_seed(77))
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (rows,), generator=draw)
    return (shapes[y] + torch.randn(rows, 20, generator=draw))[:, None], y


@cache
def mislabelled() -> Problem:
    """A network that has learned a quarter of its labels by heart that are wrong."""
    X, y = signals(800, 3)
    wrong = y.clone()
    wrong[:200] = (y[:200] + 1) % 4
    model = initialise(build, RECIPE.initialisation_seed)
    train(model, TensorRows(X, wrong), OBJECTIVE, RECIPE)
    retained = TensorRows(X[200:], y[200:])
    return Problem(
        model=model,
        objective=OBJECTIVE,
        kind="label_correction",
        forget=TensorRows(X[:200], wrong[:200]),
        replacement=TensorRows(X[:200], y[:200]),
        retained=TensorRows(X[200:400], y[200:400]),
        retained_total=600,
        recipe=RECIPE,
        full_retained=lambda: retained,
        build=build,
    )


def accuracy(model: nn.Module) -> float:
    X, y = signals(2000, 4)
    with torch.no_grad():
        return float((model(X).argmax(1) == y).double().mean())


def correct(problem: Problem, name: str = "shrinking_mask", **parameters: object) -> Update:
    return make_method(name, parameters).unlearn(problem)  # type: ignore[arg-type]  # JSON values


@given(st.integers(1, 400), st.integers(0, 2000), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_what_may_change_never_grows_and_ends_at_the_count(
    steps: int, more: int, count: int
) -> None:
    sizes = [allowed(step, steps, count + more, count) for step in range(steps)]
    assert sizes[0] == count + more
    assert sizes == sorted(sizes, reverse=True)
    if steps >= 10:
        ended = 7 * steps // 10 + 1
        assert sizes[ended:] == [count] * (steps - ended)


def test_it_brings_back_more_than_a_mask_drawn_beforehand_and_near_to_retraining() -> None:
    problem = mislabelled()
    X, y = signals(800, 3)
    retrained = initialise(build, 5)
    train(retrained, TensorRows(X, y), OBJECTIVE, replace(RECIPE, seed=5))
    before, goal = accuracy(problem.model), accuracy(retrained)
    update = correct(problem)
    drawn = correct(
        replace(problem, retained=problem.full_retained(), full_retained=None),  # type: ignore[misc]  # it is there
        "random_mask",
        fraction=0.02,
        solver="adam",
    )

    assert goal - before > 0.1
    closed = (accuracy(apply_update(problem.model, update)) - before) / (goal - before)
    beside = (accuracy(apply_update(problem.model, drawn)) - before) / (goal - before)
    assert closed > 0.8
    assert closed > beside + 0.1


def test_only_its_share_of_the_last_layers_changes() -> None:
    problem = mislabelled()
    update = correct(problem, fraction=0.05)
    count = int(0.05 * problem.parameter_count)
    changed = changed_scalars(problem.model, apply_update(problem.model, update))
    assert update.selected == count
    assert 0.9 * count < changed <= count
    assert set(update.values) <= {"5.weight", "5.bias", "7.weight", "7.bias"}
    assert update.diagnostics["first_layers_run_once"] is True


def test_every_retained_row_is_read_where_it_can_be_opened() -> None:
    problem = mislabelled()
    all_rows = correct(problem, steps=20)
    sample = correct(problem, steps=20, every_row=False)
    closed = correct(replace(problem, full_retained=None), steps=20)
    assert [u.rows_read for u in (all_rows, sample, closed)] == [800, 400, 400]
    assert [u.diagnostics["all_retained_rows"] for u in (all_rows, sample)] == [True, False]
    assert all(torch.equal(sample.values[n], closed.values[n]) for n in sample.values)


def test_effort_is_counted_in_multiply_adds_of_a_retraining() -> None:
    problem = mislabelled()
    few, many = (correct(problem, effort=effort).diagnostics["steps"] for effort in (0.5, 1.0))
    # Per row: convolutions of 20 positions, then the head; 40 epochs of 800 rows; batches of 128.
    head = 160 * 32 + 32 * 4
    whole = 20 * (4 * 3 + 8 * 4 * 3) + head
    assert many == int(1.0 * 40 * 800 * whole / head / 128)
    assert few == int(0.5 * 40 * 800 * whole / head / 128)
    assert correct(problem, effort=1e-6).diagnostics["steps"] == 100
    assert correct(replace(problem, recipe=None)).diagnostics["steps"] == 100


def test_with_everything_allowed_it_is_adam_and_the_mean_of_its_last_points() -> None:
    problem, _, _ = ridge("label_correction")
    strengths = {name: torch.ones_like(p) for name, p in problem.parameters.items()}
    rows = len(problem.edited)
    shrunk = shrinking_descent(problem, strengths, 6, learning_rate=1e-2, steps=40, batch_size=rows)

    theta = {name: p.clone().requires_grad_() for name, p in problem.parameters.items()}
    loss = EditedLoss(problem)
    adam = torch.optim.Adam(theta.values(), betas=(0.9, 0.99))
    points = []
    for step in range(40):
        adam.param_groups[0]["lr"] = 1e-2 * (1 if step <= 28 else (40 - step) / 12)
        gradient = loss.gradient({name: t.detach() for name, t in theta.items()})
        for name, tensor in theta.items():
            tensor.grad = gradient[name]
        adam.step()
        points.append({name: t.detach().clone() for name, t in theta.items()})

    assert shrunk.selection.count == 6
    for name, value in shrunk.values.items():
        mean = torch.stack([point[name] for point in points[32:]]).mean(0)
        torch.testing.assert_close(value, mean, rtol=0, atol=1e-12)


def test_what_is_not_selected_keeps_its_bits_even_of_a_negative_zero() -> None:
    problem, _, _ = ridge("label_correction")
    with torch.no_grad():
        problem.model.get_parameter("weight").copy_(torch.tensor(-0.0))
    strengths = {name: torch.ones_like(p) for name, p in problem.parameters.items()}
    shrunk = shrinking_descent(problem, strengths, 2, learning_rate=1e-2, steps=20, batch_size=16)
    outside = ~shrunk.selection.masks["weight"]
    assert int(outside.sum()) >= 3
    assert bool(torch.signbit(shrunk.values["weight"][outside]).all())


@pytest.mark.parametrize("strong", ["weight", "bias"])
def test_what_is_strong_stays(strong: str) -> None:
    problem, _, _ = ridge("label_correction")
    strengths: Mapping[str, Tensor] = {
        name: torch.full_like(p, 1.0 if name == strong else 1e-6)
        for name, p in problem.parameters.items()
    }
    count = problem.parameters[strong].numel()
    shrunk = shrinking_descent(
        problem, strengths, count, learning_rate=1e-2, steps=30, batch_size=16
    )
    assert shrunk.selection.names == (strong,)
    assert shrunk.selection.count == count


def test_the_curvature_kept_with_the_version_ranks_at_no_cost() -> None:
    problem = mislabelled()
    values = {name: torch.rand_like(p) for name, p in problem.parameters.items()}
    kept = replace(problem, curvature=StoredCurvature(values, "kept", 10))
    found, fresh = (correct(p, steps=20) for p in (kept, problem))
    assert found.diagnostics["estimator"] == "kept, kept with the version"
    assert found.gradient_evaluations < fresh.gradient_evaluations
    assert correct(kept, steps=20, ranking="movement").diagnostics["estimator"] == "none"


def test_deletions_are_refused_alone_and_beside_corrections() -> None:
    problem = mislabelled()
    X, y = signals(800, 3)
    partly = replace(problem, kind="mixed", replacement=TensorRows(X[:100], y[:100]))
    for deleting in (network("deletion"), partly):
        with pytest.raises(NotApplicable, match="teach nothing"):
            correct(deleting)
