"""Data sets, wrong labels and networks of the correction study."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from app.unlearning.curvature import choose_estimator, ggn_diagonal, sketched_ggn_diagonal
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.recipe import Recipe, Schedule
from app.unlearning.rows import TensorRows
from app.unlearning.training import initialise, train
from benchmarks.adult_removal import encode, inputs_of
from benchmarks.fashion_correction import DEVIATION, MEAN, network

OBJECTIVE: Final = Objective("cross_entropy")
SCHEDULES: Final = get_args(Schedule)
CASES: Final = ("half_class", "flips10", "flips20")
LEARNING_RATE, BATCH_ROWS = 1e-3, 64
RETAINED_ROWS = 2048
CURVATURE_ROWS = 2048


@dataclass(frozen=True)
class DataSet:
    """A data set with right labels, and the network that learns it.

    Attributes:
        build: Makes a fresh network.
        training: Trained on.
        reported: Never trained on and never read by a method; results are reported on them.
        classes: Their number.
        wronged: The class of which half is mistaken.
        mistaken_for: For which other one.
    """

    build: Callable[[], nn.Module]
    training: TensorRows
    reported: TensorRows
    classes: int
    wronged: int
    mistaken_for: int

    def reporting_on(self, most: int | None) -> "DataSet":
        """The same, reporting on the first ``most`` rows only; None for all."""
        reported = self.reported
        few = TensorRows(reported.inputs[:most], reported.targets[:most])
        return replace(self, reported=few)


@dataclass(frozen=True)
class Case:
    """Wrong labels.

    Attributes:
        data: With right labels.
        labels: (n,) labels of the training rows, some of them wrong.
        wrong: Positions of those.
        watched: Classes whose mean recall is watched: the wronged one, or all of them.
    """

    data: DataSet
    labels: Tensor
    wrong: Tensor
    watched: tuple[int, ...]

    @property
    def as_trained(self) -> TensorRows:
        """The training rows with wrong labels."""
        return TensorRows(self.data.training.inputs, self.labels)

    @property
    def corrected(self) -> TensorRows:
        """The rows that were wrong, with right labels."""
        rows = self.data.training
        return TensorRows(rows.inputs[self.wrong], rows.targets[self.wrong])


def load_fashion(folder: Path, rows: int) -> DataSet:
    """Fashion-MNIST for a CNN of 80 602 parameters; shirts mistaken for T-shirts."""
    table = pq.read_table(folder / "fashion_mnist.parquet")
    images = table["image"].combine_chunks().flatten().to_numpy().reshape(-1, 1, 28, 28)
    inputs = (images.astype(np.float32) / 255 - MEAN) / DEVIATION
    return _split(table, torch.from_numpy(inputs), rows, network, wronged=6, mistaken_for=0)


def load_adult(folder: Path, rows: int) -> DataSet:
    """Adult for a dense network; incomes above 50K mistaken for lower ones."""
    table = pq.read_table(folder / "adult.parquet")
    features = encode(table, inputs_of(table))[:, :-1].astype(np.float32)
    build = partial(dense_network, features.shape[1])
    return _split(table, torch.from_numpy(features), rows, build, wronged=1, mistaken_for=0)


def load_digits(folder: Path, rows: int) -> DataSet:
    """The digits that come with scikit-learn, for a small CNN; eights mistaken for threes."""
    from sklearn.datasets import load_digits as bundled

    del folder
    found = bundled()
    order = np.random.default_rng(0).permutation(len(found.target))
    training = min(rows, 1200)
    table = pa.table({
        "split": ["train"] * training + ["test"] * (len(order) - training),
        "label": found.target[order],
    })
    images = torch.from_numpy((found.images[order, None] / 8 - 1).astype(np.float32))
    return _split(table, images, rows, digit_network, wronged=8, mistaken_for=3)


SETS: Final[Mapping[str, Callable[[Path, int], DataSet]]] = {
    "fashion": load_fashion,
    "digits": load_digits,
    "adult": load_adult,
}


def dense_network(features: int) -> nn.Sequential:
    """Two hidden layers, two classes."""
    return nn.Sequential(
        nn.Linear(features, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 2),
    )


def digit_network(hidden: int = 48) -> nn.Sequential:
    """Two convolutions and a dense head for images of 8 x 8."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def wronged(data: DataSet, case: str) -> Case:
    """Mistake half of a class for another one, or a share of all rows for any other class."""
    draw = torch.Generator().manual_seed(0)
    truth = data.training.targets
    labels = truth.clone()
    if case == "half_class":
        members = (truth == data.wronged).nonzero()[:, 0]
        half = torch.randperm(len(members), generator=draw)[: len(members) // 2]
        wrong = members[half].sort().values
        labels[wrong] = data.mistaken_for
        return Case(data, labels, wrong, (data.wronged,))
    count = len(truth) * int(case.removeprefix("flips")) // 100
    wrong = torch.randperm(len(truth), generator=draw)[:count].sort().values
    shifts = torch.randint(1, data.classes, (count,), generator=draw)
    labels[wrong] = (truth[wrong] + shifts) % data.classes
    return Case(data, labels, wrong, tuple(range(data.classes)))


@dataclass(frozen=True)
class Training:
    """How every network of a study is trained: by Adam.

    Attributes:
        epochs: Passes over the rows.
        schedule: ``constant`` lets networks over-fit and differ; ``cosine`` ends where they are
            most alike.
    """

    epochs: int
    schedule: Schedule

    def recipe(self, seed: int) -> Recipe:
        """The recipe of one network."""
        return Recipe(
            "adam",
            LEARNING_RATE,
            BATCH_ROWS,
            self.epochs,
            seed=seed,
            schedule=self.schedule,
            initialisation_seed=seed,
        )


def trained(data: DataSet, rows: TensorRows, recipe: Recipe) -> nn.Module:
    """The network of a data set, trained from scratch."""
    model = initialise(data.build, recipe.initialisation_seed)
    train(model, rows, OBJECTIVE, recipe)
    return model


def problem_of(case: Case, original: nn.Module, recipe: Recipe) -> Problem:
    """The correction of ``original``, with a sample of the retained rows at hand.

    The diagonal curvature is given: the service computes it when it registers a version.
    """
    inputs, truth = case.data.training.inputs, case.data.training.targets
    kept = torch.ones(len(truth), dtype=torch.bool)
    kept[case.wrong] = False
    retained = kept.nonzero()[:, 0]
    draw = torch.Generator().manual_seed(recipe.seed)
    sample = retained[torch.randperm(len(retained), generator=draw)[:RETAINED_ROWS]].sort().values
    return Problem(
        model=original,
        objective=OBJECTIVE,
        kind="label_correction",
        forget=TensorRows(inputs[case.wrong], case.labels[case.wrong]),
        replacement=case.corrected,
        retained=TensorRows(inputs[sample], truth[sample]),
        retained_total=len(retained),
        generator_seed=recipe.seed,
        recipe=recipe,
        full_retained=lambda: TensorRows(inputs[retained], truth[retained]),
        build=case.data.build,
        curvature=curvature_of(original, case.as_trained, recipe.seed),
    )


def curvature_of(model: nn.Module, rows: TensorRows, seed: int) -> StoredCurvature:
    """The diagonal that the service keeps with a version, on a sample of its training rows."""
    draw = torch.Generator().manual_seed(seed)
    batch = rows.take(torch.randperm(len(rows), generator=draw)[:CURVATURE_ROWS])
    sample = TensorRows(batch.inputs, batch.targets)
    if choose_estimator(model, OBJECTIVE) == "ggn":
        found = ggn_diagonal(model, OBJECTIVE, sample)
    else:
        found = sketched_ggn_diagonal(model, OBJECTIVE, sample, seed=seed)
    return StoredCurvature(found.values, found.estimator, found.rows, seed)


def _split(
    table: pa.Table,
    inputs: Tensor,
    rows: int,
    build: Callable[[], nn.Module],
    *,
    wronged: int,
    mistaken_for: int,
) -> DataSet:
    """Train on the first rows of the training split; all other rows are reported on."""
    is_training = torch.from_numpy(np.array(table["split"].to_pylist()) == "train")
    labels = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    order = is_training.nonzero()[:, 0]
    used = order[:rows]
    others = torch.cat([order[rows:], (~is_training).nonzero()[:, 0]])
    return DataSet(
        build=build,
        training=TensorRows(inputs[used], labels[used]),
        reported=TensorRows(inputs[others], labels[others]),
        classes=int(labels.max()) + 1,
        wronged=wronged,
        mistaken_for=mistaken_for,
    )
