"""The sparse update where it matters: a network with wrong labels, corrected."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.methods import Retrain, SparseNewton, make_method
from app.unlearning.methods.masked_minimisation import choose_solver
from app.unlearning.methods.ranking import select_ranked
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from app.unlearning.selection import Selection
from app.unlearning.training import initialise, train
from app.unlearning.update import apply_update, changed_scalars
from tests.unlearning.methods.problems import blobs, build_network, network


@pytest.fixture(scope="module")
def mislabelled() -> tuple[Problem, TensorRows]:
    """Half of the labels of 400 rows shifted by one class, learned by a wide dense network."""
    X, y = blobs(600, 1)
    wrong = y.clone()
    wrong[:200] = (y[:200] + 1) % 3
    recipe = Recipe("adam", 3e-3, batch_size=32, epochs=30, seed=1)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)
        )

    problem = network("label_correction")
    model = initialise(build, 1)
    train(model, TensorRows(X[:400], wrong[:400]), problem.objective, recipe)
    retained = TensorRows(X[200:400], y[200:400])
    corrected = replace(
        problem,
        model=model,
        forget=TensorRows(X[:200], wrong[:200]),
        replacement=TensorRows(X[:200], y[:200]),
        retained=retained,
        retained_total=200,
        recipe=recipe,
        build=build,
        full_retained=lambda: retained,
    )
    return corrected, TensorRows(X[400:], y[400:])


def accuracy(model: nn.Module, rows: TensorRows) -> float:
    with torch.no_grad():
        return float((model(rows.inputs).argmax(1) == rows.targets).double().mean())


@pytest.mark.parametrize("solver", ["auto", "block", "lbfgs", "adam"])
def test_it_restores_what_wrong_labels_cost(
    mislabelled: tuple[Problem, TensorRows], solver: str
) -> None:
    problem, holdout = mislabelled
    retrained = accuracy(apply_update(problem.model, Retrain().unlearn(problem)), holdout)
    before = accuracy(problem.model, holdout)
    assert retrained - before > 0.1

    update = make_method("sparse_newton", {"fraction": 0.05, "solver": solver}).unlearn(problem)

    result = apply_update(problem.model, update)
    assert accuracy(result, holdout) - before > 0.8 * (retrained - before)
    assert changed_scalars(problem.model, result) <= 0.05 * problem.parameter_count


def test_reselection_stays_within_the_budget_and_keeps_what_it_chose() -> None:
    problem = network("label_correction")
    once = SparseNewton(fraction=0.2, iterations=5).unlearn(problem)

    update = SparseNewton(fraction=0.2, iterations=5, reselections=3).unlearn(problem)

    assert update.selected == once.selected == int(0.2 * problem.parameter_count)
    assert changed_scalars(problem.model, apply_update(problem.model, update)) <= update.selected
    assert len(update.diagnostics["solvers"]) == 4  # type: ignore[arg-type]  # a list
    after = update.diagnostics["edited_loss_after"]
    before = update.diagnostics["edited_loss_before"]
    assert isinstance(after, float)
    assert isinstance(before, float)
    assert after < before


def test_kept_scalars_come_first() -> None:
    problem = network("label_correction")
    names = ("7.weight", "7.bias")
    kept = Selection({"7.bias": torch.tensor([True, True, False])})

    chosen = select_ranked(problem, names, 5, "global", 1e-2, kept)

    assert chosen.selection.count == 5
    assert chosen.selection.masks["7.bias"][:2].all()


def test_curvature_kept_with_the_version_is_used() -> None:
    problem = network("label_correction")
    ones = {name: torch.ones_like(t) for name, t in problem.parameters.items()}
    kept = replace(problem, curvature=StoredCurvature(ones, "ggn", 120))

    fresh = SparseNewton(iterations=1).unlearn(problem)
    update = SparseNewton(iterations=1).unlearn(kept)

    assert update.diagnostics["estimator"] == "ggn, kept with the version"
    assert update.gradient_evaluations < fresh.gradient_evaluations
    misfit = {name: torch.ones(1) for name in ones}
    again = replace(problem, curvature=StoredCurvature(misfit, "ggn", 120))
    assert SparseNewton(iterations=1).unlearn(again).diagnostics["estimator"] == "ggn"


def test_the_solver_follows_the_size() -> None:
    problem = network("label_correction")
    few = Selection({"7.bias": torch.ones(3, dtype=torch.bool)})
    assert choose_solver(problem, few) == "block"
    wide = initialise(
        lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 90, 6), nn.Flatten()), 0
    )
    convolving = replace(problem, model=wide)
    many = Selection.everything(convolving.parameters)
    assert many.count == 630
    assert choose_solver(convolving, many) == "lbfgs"
    X, y = blobs(1500, 0)
    crowd = replace(convolving, retained=TensorRows(X, y), retained_total=1500)
    assert choose_solver(crowd, many) == "adam"
    dense = replace(crowd, model=nn.Linear(6, 90))
    assert choose_solver(dense, Selection.everything(dense.parameters)) == "lbfgs"


def test_batch_statistics_are_left_alone() -> None:
    problem = network("label_correction")
    assert any(isinstance(m, nn.BatchNorm1d) for m in build_network().modules())
    update = SparseNewton(scope="all").unlearn(problem)
    assert not update.buffers
