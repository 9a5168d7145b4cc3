"""The trainer: the objective it descends, and that it does the same thing every time."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.recipe import Optimizer, Recipe, Schedule
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train
from tests.unlearning.methods.problems import blobs, flat, linear, ridge, ridge_optimum

MSE = Objective("mean_squared_error", 0.1)


def ridge_rows() -> TensorRows:
    _, X, y = ridge("deletion")
    return TensorRows(X, y)


def dropout_network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )


# L-BFGS stops where the loss is flat to rounding: the root of 1e-16 away from the optimum.
@pytest.mark.parametrize(
    ("optimizer", "rate", "epochs", "tolerance"),
    [("sgd", 0.1, 500, 1e-9), ("adam", 0.05, 1500, 1e-6), ("lbfgs", 1.0, 100, 1e-8)],
)
def test_it_reaches_the_optimum_of_the_decayed_objective(
    optimizer: Optimizer, rate: float, epochs: int, tolerance: float
) -> None:
    rows = ridge_rows()
    model = linear(torch.zeros(6, dtype=torch.float64))

    train(model, rows, MSE, Recipe(optimizer, rate, batch_size=60, epochs=epochs))

    expected = ridge_optimum(rows.inputs, rows.targets, 0.1)
    assert_close(flat(model), expected, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lbfgs"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_two_runs_agree_bit_for_bit(optimizer: Optimizer, schedule: Schedule) -> None:
    X, y = blobs(65, 0)
    recipe = Recipe(
        optimizer,
        1e-2,
        16,
        3,
        momentum=0.5,
        seed=1,
        schedule=schedule,
        initialisation_seed=2,
    )

    def run(other: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(other)
        model = initialise(dropout_network, recipe.initialisation_seed)
        train(model, TensorRows(X, y), Objective("cross_entropy", 1e-3), recipe)
        return model.state_dict()

    first, second = run(0), run(1)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_global_generator_is_left_alone() -> None:
    X, y = blobs(20, 0)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = initialise(dropout_network, 9)
    train(model, TensorRows(X, y), Objective("cross_entropy"), Recipe("sgd", 0.1, 8, 1))
    assert torch.equal(torch.rand(3), expected)


def test_the_initialisation_is_what_the_seed_says() -> None:
    torch.manual_seed(9)
    expected = dropout_network()
    assert torch.equal(flat(initialise(dropout_network, 9)), flat(expected))
    assert not torch.equal(flat(initialise(dropout_network, 8)), flat(expected))


def test_plain_gradient_descent_by_hand() -> None:
    """Three full-batch steps with momentum and a cosine schedule, spelled out."""
    rows = ridge_rows()
    model = linear(torch.zeros(6, dtype=torch.float64))
    recipe = Recipe("sgd", 0.1, 60, 3, momentum=0.9, schedule="cosine")

    train(model, rows, MSE, recipe)

    A = torch.cat([rows.inputs, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    theta, speed = torch.zeros(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    for rate in (0.1, 0.1 * 0.75, 0.1 * 0.25):
        g = 2 * A.T @ (A @ theta - rows.targets) / len(A) + 0.1 * theta
        speed = 0.9 * speed + g
        theta = theta - rate * speed
    assert_close(flat(model), theta, rtol=0.0, atol=1e-12)


def test_row_weights_count_as_repetitions() -> None:
    rows = ridge_rows()
    weights = torch.ones(len(rows), dtype=torch.float64)
    weights[:10] = 2
    twice = TensorRows(
        torch.cat([rows.inputs, rows.inputs[:10]]), torch.cat([rows.targets, rows.targets[:10]])
    )
    results = []
    for data in (TensorRows(rows.inputs, rows.targets, weights), twice):
        model = linear(torch.zeros(6, dtype=torch.float64))
        train(model, data, MSE, Recipe("lbfgs", 1.0, 100, 200))
        results.append(flat(model))
    assert_close(results[0], results[1], rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_batches_in_which_no_row_counts_change_nothing(optimizer: Optimizer) -> None:
    torch.manual_seed(0)
    X, y = torch.randn(1200, 3), torch.randint(2, (1200,))
    weights = (torch.arange(1200) >= 1100).float()
    recipe = Recipe(optimizer, 0.5, 1, 3)
    model = initialise(lambda: nn.Linear(3, 2), 1)
    train(model, TensorRows(X, y, weights), Objective("cross_entropy", 0.1), recipe)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_it_stops_when_told() -> None:
    seen: list[tuple[int, bool]] = []

    def after_epoch(epoch: int, model: nn.Module) -> bool:
        seen.append((epoch, model.training))
        return epoch == 2

    X, y = blobs(20, 0)
    model = dropout_network()
    run = train(
        model,
        TensorRows(X, y),
        Objective("cross_entropy"),
        Recipe("adam", 1e-2, 8, 10),
        after_epoch=after_epoch,
    )
    assert seen == [(1, False), (2, False)]
    assert run.epochs == 2
    assert run.gradient_evaluations == 40
    assert not model.training


def test_a_last_row_alone_joins_the_batch_before() -> None:
    """Batch normalisation refuses a batch of one row."""
    X, y = blobs(33, 0)
    run = train(
        dropout_network(),
        TensorRows(X, y),
        Objective("cross_entropy"),
        Recipe("sgd", 1e-2, 16, 1),
    )
    assert run.gradient_evaluations == 33


def test_divergence_is_an_error_and_so_is_nothing_to_train_on() -> None:
    model = linear(torch.zeros(6, dtype=torch.float64))
    with pytest.raises(NonFinite):
        train(model, ridge_rows(), MSE, Recipe("sgd", 1e3, 60, 200))
    with pytest.raises(NotApplicable):
        train(model, empty(), MSE, Recipe("sgd", 0.1, 60, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "lion"},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"batch_size": 0},
        {"epochs": -1},
        {"schedule": "step"},
    ],
)
def test_a_recipe_out_of_range_is_refused(wrong: dict) -> None:
    good = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 1, "epochs": 1}
    with pytest.raises(ValueError):
        Recipe(**(good | wrong))
