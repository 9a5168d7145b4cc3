"""Remove features from a logistic regression on Drebin, as Warnecke et al. did, and compare.

Their repository holds the vectors: 39,380 applications, 2,081 binary features. Rows scaled to norm
one, no intercept, weight decay 1 on the summed loss. Features to remove are drawn from those that
they call relevant and that are among the 300 with the largest weights of a model with weight decay
1,000. What counts is the norm of the gradient of the summed loss on the data without them: left as
it is, after one first-order step and after one second-order step. Their draws are not known, so the
ratios are compared, not the norms.

    python -m benchmarks.drebin_features --data <folder train_test_data/Drebin of their repository>
"""

import argparse
import pickletools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from app.unlearning.training import train
from app.unlearning.update import JSON, apply_update

DECAY, STRONG_DECAY, TOP = 1.0, 1000.0, 300
RATE = 1e-3
"""Theirs, on the summed loss."""
THEIRS = {10: 0.031, 50: 0.079, 100: 0.113}
"""Second order over untouched in the output of their notebook, which used ten draws."""


@dataclass(frozen=True)
class Drebin:
    """The training rows: (n, d) float32 of norm one, labels in {0, 1}, and who is relevant."""

    X: Tensor
    y: Tensor
    relevant: frozenset[int]


def read(folder: Path) -> Drebin:
    """Read the files; none of them is unpickled."""
    matrix = np.load(folder / "x_train.npz")
    rows, columns = (int(size) for size in matrix["shape"])
    X = np.zeros((rows, columns), np.float32)
    X[np.repeat(np.arange(rows), np.diff(matrix["indptr"])), matrix["indices"]] = matrix["data"]
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    labels = np.load(folder / "y_train.npy") > 0
    positions = vocabulary(folder / "voc.pkl")
    relevant = (folder / "relevant_features.txt").read_text().splitlines()
    chosen = frozenset(positions[name.strip()] for name in relevant if name.strip() in positions)
    return Drebin(torch.from_numpy(X), torch.from_numpy(labels.astype(np.float32)), chosen)


def vocabulary(file: Path) -> dict[str, int]:
    """Read a dictionary of names and positions off the instructions of a pickle, running none."""
    found: dict[str, int] = {}
    name = None
    for instruction, argument, _ in pickletools.genops(file.read_bytes()):
        if "UNICODE" in instruction.name:
            name = argument
        elif name is not None and isinstance(argument, int) and "INT" in instruction.name:
            found[name] = argument
            name = None
    return found


def trained(data: Drebin, decay: float) -> nn.Linear:
    """The optimum of the summed loss plus half of ``decay`` times the squared norm."""
    model = nn.Linear(data.X.shape[1], 1, bias=False)
    nn.init.zeros_(model.weight)
    objective = Objective("binary_cross_entropy", decay / len(data.X))
    train(model, TensorRows(data.X, data.y), objective, Recipe("lbfgs", 1.0, len(data.X), 200))
    return model


def residual(X: Tensor, y: Tensor, model: nn.Module) -> float:
    """Norm of the gradient of the summed loss plus decay."""
    theta = next(model.parameters()).detach()[0]
    slope = torch.sigmoid(X @ theta) - y
    return float(((X.T @ slope).double() + DECAY * theta.double()).norm())


def removed(data: Drebin, model: nn.Linear, columns: Tensor) -> list[float]:
    """The residual untouched, after the first and after the second order."""
    X = data.X.clone()
    X[:, columns] = 0.0
    hit = (data.X[:, columns] != 0).any(1)
    kept = TensorRows(data.X[~hit], data.y[~hit])
    problem = Problem(
        model,
        Objective("binary_cross_entropy", DECAY / len(X)),
        "feature_correction",
        forget=TensorRows(data.X[hit], data.y[hit]),
        replacement=TensorRows(X[hit], data.y[hit]),
        retained=kept,
        retained_total=len(kept),
    )
    orders: tuple[tuple[str, dict[str, JSON]], ...] = (
        ("influence", {"order": "first", "rate": RATE * len(X)}),
        # One Newton step on everything, by products on all rows.
        (
            "saps",
            {"fraction": 1.0, "damping": 0.0, "curvature_rows": len(X), "max_products": 200},
        ),
    )
    updates = (make_method(name, parameters).unlearn(problem) for name, parameters in orders)
    models = [model, *(apply_update(model, update) for update in updates)]
    return [residual(X, data.y, each) for each in models]


def study(folder: Path, counts: Sequence[int], draws: int) -> tuple[Table, bool]:
    """Draw features, remove them, and tell whether every draw is in order."""
    data = read(folder)
    model, strong = trained(data, DECAY), trained(data, STRONG_DECAY)
    weights = strong.weight.detach()[0].abs()
    top = weights.topk(min(TOP, len(weights))).indices.tolist()
    pool = torch.tensor([column for column in top if column in data.relevant])
    table = Table(box=SIMPLE, title=f"Gradient left, mean and deviation of {draws} draws")
    for column in ("removed", "untouched", "first order", "second order", "ratio", "theirs"):
        table.add_column(column, justify="right")
    generator = torch.Generator().manual_seed(0)
    is_ordered = True
    for count in counts:
        found = torch.tensor([
            removed(data, model, pool[torch.randperm(len(pool), generator=generator)[:count]])
            for _ in range(draws)
        ])
        is_ordered &= bool((found[:, 2] < found[:, 1]).all() and (found[:, 1] < found[:, 0]).all())
        cells = [
            f"{mean:.2f} ± {spread:.2f}"
            for mean, spread in zip(found.mean(0), found.std(0), strict=True)
        ]
        ratio = float(found[:, 2].mean() / found[:, 0].mean())
        theirs = f"{THEIRS[count]:.3f}" if count in THEIRS else ""
        table.add_row(str(count), *cells, f"{ratio:.3f}", theirs)
    return table, is_ordered


def main() -> int:
    """Print the table; 1 if a draw is out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--removed", type=int, nargs="+", default=list(THEIRS))
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table, is_ordered = study(options.data, options.removed, options.draws)
    console = Console()
    console.print(table)
    order = "second order < first order < untouched"
    console.print(f"{order} on every draw: {'yes' if is_ordered else 'no'}")
    return 0 if is_ordered else 1


if __name__ == "__main__":
    sys.exit(main())
