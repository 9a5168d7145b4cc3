"""Rows, deletions and networks of the deletion study."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train
from benchmarks.fashion_correction import DEVIATION, MEAN, network

OBJECTIVE: Final = Objective("cross_entropy")
SETS: Final = ("fashion_mnist",)
DELETIONS: Final = ("random", "subject", "class")
RANDOM_SHARE = 0.05
HALVED_CLASS = 6
LEAST_REPORTED = 2000


@dataclass(frozen=True)
class Study:
    """The rows of a study.

    Attributes:
        training: Trained on.
        subjects: (n,) whose row it is, as numbers.
        holdout: Never trained on; methods may read them.
        reported: Never trained on and never read by a method, where there are enough such rows;
            the held-out ones otherwise.
    """

    training: TensorRows
    subjects: Tensor
    holdout: TensorRows
    reported: TensorRows


def load_study(folder: Path, name: str, rows: int) -> Study:
    """Read a data set of images; the first ``rows`` training rows are trained on."""
    table = pq.read_table(folder / f"{name}.parquet")
    is_training = torch.from_numpy(np.array(table["split"].to_pylist()) == "train")
    images = table["image"].combine_chunks().flatten().to_numpy().reshape(-1, 1, 28, 28)
    inputs = torch.from_numpy((images.astype(np.float32) / 255 - MEAN) / DEVIATION)
    labels = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    _, owners = np.unique(np.array(table["subject_id"].to_pylist()), return_inverse=True)
    order = is_training.nonzero()[:, 0]
    used, unused = order[:rows], order[rows:]
    held = (~is_training).nonzero()[:, 0]

    def pick(positions: Tensor) -> TensorRows:
        return TensorRows(inputs[positions], labels[positions])

    holdout = pick(held)
    reported = pick(unused) if len(unused) >= LEAST_REPORTED else holdout
    return Study(pick(used), torch.from_numpy(owners)[used], holdout, reported)


def deleted(study: Study, deletion: str) -> Tensor:
    """Which training rows a deletion names: five percent, the largest subject, half a class."""
    draw = torch.Generator().manual_seed(0)
    labels, count = study.training.targets, len(study.training)
    if deletion == "random":
        return torch.randperm(count, generator=draw)[: int(RANDOM_SHARE * count)].sort().values
    if deletion == "subject":
        return (study.subjects == study.subjects.bincount().argmax()).nonzero()[:, 0]
    members = (labels == HALVED_CLASS).nonzero()[:, 0]
    half = torch.randperm(len(members), generator=draw)[: len(members) // 2]
    return members[half].sort().values


def recipe_of(epochs: int, seed: int) -> Recipe:
    """Adam at a constant rate, long enough to over-fit."""
    return Recipe("adam", 1e-3, 64, epochs, seed=seed, initialisation_seed=seed)


def trained(rows: TensorRows, recipe: Recipe) -> nn.Module:
    """The network of the study, trained from scratch."""
    model = initialise(network, recipe.initialisation_seed)
    train(model, rows, OBJECTIVE, recipe)
    return model


def without(study: Study, gone: Tensor) -> TensorRows:
    """The retained rows."""
    kept = torch.ones(len(study.training), dtype=torch.bool)
    kept[gone] = False
    return TensorRows(study.training.inputs[kept], study.training.targets[kept])


def problem_of(study: Study, gone: Tensor, original: nn.Module, recipe: Recipe) -> Problem:
    """The deletion of ``gone`` from ``original``."""
    retained = without(study, gone)
    return Problem(
        model=original,
        objective=OBJECTIVE,
        kind="deletion",
        forget=TensorRows(study.training.inputs[gone], study.training.targets[gone]),
        replacement=empty(),
        retained=retained,
        retained_total=len(retained),
        generator_seed=recipe.seed,
        holdout=study.holdout,
        recipe=recipe,
        full_retained=lambda: retained,
        build=network,
    )
