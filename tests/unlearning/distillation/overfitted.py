"""A small over-fitted convolutional network, what forgets rows of it, and one retrained."""

import copy
from functools import cache

import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train

OBJECTIVE = Objective("cross_entropy")
RECIPE = Recipe("adam", 3e-3, batch_size=32, epochs=40, seed=1, initialisation_seed=1)
DELETED = 60


def build() -> nn.Module:
    """Two convolutions and a dense head that holds nine tenths of the parameters."""
    return nn.Sequential(
        nn.Conv1d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv1d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(160, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def signals(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Four noisy shapes; one label in seven is wrong, so there is something to memorise."""
    shapes = torch.randn(4, 20, generator=torch.Generator().manual_seed(77))
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (rows,), generator=draw)
    X = 0.6 * shapes[y] + torch.randn(rows, 20, generator=draw)
    wrong = torch.rand(rows, generator=draw) < 1 / 7
    return X[:, None], torch.where(wrong, (y + 1) % 4, y)


@cache
def trained(*, retrained: bool) -> nn.Module:
    """The network on all rows, or on the retained ones."""
    X, y = signals(800, 3)
    first = DELETED if retrained else 0
    model = initialise(build, RECIPE.initialisation_seed)
    train(model, TensorRows(X[first:], y[first:]), OBJECTIVE, RECIPE)
    return model


def overfitted() -> Problem:
    """The deletion of sixty rows."""
    X, y = signals(800, 3)
    retained = TensorRows(X[DELETED:], y[DELETED:])
    return Problem(
        model=copy.deepcopy(trained(retrained=False)),
        objective=OBJECTIVE,
        kind="deletion",
        forget=TensorRows(X[:DELETED], y[:DELETED]),
        replacement=empty(),
        retained=retained,
        retained_total=len(retained),
        holdout=TensorRows(*signals(600, 4)),
        recipe=RECIPE,
        full_retained=lambda: retained,
        build=build,
    )
