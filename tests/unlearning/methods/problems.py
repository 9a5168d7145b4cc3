"""Small problems with known answers, seeded."""

import copy

import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Rows, TensorRows, empty
from app.unlearning.training import initialise, train

KINDS: tuple[Kind, ...] = ("deletion", "label_correction", "feature_correction")


def ridge_optimum(X: Tensor, y: Tensor, decay: float) -> Tensor:
    """Weights and then the bias of ridge regression, from its normal equations."""
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], 1)
    H = 2 * A.T @ A / len(A) + decay * torch.eye(A.shape[1], dtype=A.dtype)
    return torch.linalg.solve(H, 2 * A.T @ y / len(A))


def linear(theta: Tensor) -> nn.Linear:
    """A linear layer with one output and the given weights and bias."""
    model = nn.Linear(len(theta) - 1, 1, dtype=theta.dtype).eval()
    with torch.no_grad():
        model.weight.copy_(theta[None, :-1])
        model.bias.copy_(theta[-1:])
    return model


def flat(model: nn.Module) -> Tensor:
    """All parameters in one float64 vector, in order."""
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def ridge(
    kind: Kind, *, decay: float = 0.1, rows: int = 60, affected: int = 7, features: int = 5
) -> tuple[Problem, Tensor, Tensor]:
    """A ridge regression at its optimum, float64; also the edited data (X, y)."""
    draw = torch.Generator().manual_seed(7)
    X = torch.randn(rows, features, generator=draw, dtype=torch.float64)
    noise = torch.randn(rows, generator=draw, dtype=torch.float64)
    y = X @ torch.randn(features, generator=draw, dtype=torch.float64) + 0.3 * noise
    old, new = edit(kind, X[:affected], y[:affected])
    problem = Problem(
        model=linear(ridge_optimum(X, y, decay)),
        objective=Objective("mean_squared_error", decay),
        kind=kind,
        forget=old,
        replacement=new,
        retained=TensorRows(X[affected:], y[affected:]),
        retained_total=rows - affected,
    )
    edited = [*new.batches(rows), *problem.retained.batches(rows)]
    return problem, torch.cat([b.inputs for b in edited]), torch.cat([b.targets for b in edited])


def edit(kind: Kind, X: Tensor, y: Tensor) -> tuple[Rows, Rows]:
    """The affected rows of a regression as they were and as they should be."""
    if kind == "deletion":
        return TensorRows(X, y), empty()
    if kind == "label_correction":
        return TensorRows(X, y), TensorRows(X, y + 3)
    return TensorRows(X, y), TensorRows(torch.cat([X[:, :1] * 0, X[:, 1:]], 1), y)


def blobs(rows: int, seed: int, *, classes: int = 3, features: int = 6) -> tuple[Tensor, Tensor]:
    """Overlapping Gaussian classes around fixed centres."""
    centres = torch.randn(classes, features, generator=torch.Generator().manual_seed(5))
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows,), generator=draw)
    return 1.5 * centres[y] + torch.randn(rows, features, generator=draw), y


def build_network() -> nn.Module:
    """A small classifier: a convolution, a norm, a dense head; 6 inputs, 3 classes."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 3, padding=1),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


RECIPE = Recipe("adam", 1e-2, batch_size=16, epochs=6, seed=3, initialisation_seed=4)

# Trained once for all tests; every problem has its own copy.
_TRAINED: dict[int, nn.Module] = {}


def network(kind: Kind, *, seed: int = 0) -> Problem:
    """A network trained with 30 of 120 labels wrong; the request concerns those rows."""
    X, y = blobs(120, seed + 10)
    wrong = y.clone()
    wrong[:30] = (y[:30] + 1) % 3
    objective = Objective("cross_entropy", 1e-4)
    if seed not in _TRAINED:
        _TRAINED[seed] = initialise(build_network, RECIPE.initialisation_seed)
        train(_TRAINED[seed], TensorRows(X, wrong), objective, RECIPE)
    replacement: dict[Kind, Rows] = {
        "deletion": empty(),
        "label_correction": TensorRows(X[:30], y[:30]),
        "feature_correction": TensorRows(X[:30] * 0.5, wrong[:30]),
    }
    retained = TensorRows(X[30:], y[30:])
    return Problem(
        model=copy.deepcopy(_TRAINED[seed]),
        objective=objective,
        kind=kind,
        forget=TensorRows(X[:30], wrong[:30]),
        replacement=replacement[kind],
        retained=retained,
        retained_total=90,
        generator_seed=seed,
        holdout=TensorRows(*blobs(120, seed + 500)),
        recipe=RECIPE,
        full_retained=lambda: retained,
        build=build_network,
    )
