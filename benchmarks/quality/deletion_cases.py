"""Deletions of the deletion study, and the networks they meet."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train
from benchmarks.quality import kept_networks
from benchmarks.quality.deletion_sets import Study

DELETIONS: Final = ("random", "subject", "class")
RANDOM_SHARE = 0.05


def deleted(study: Study, deletion: str) -> Tensor:
    """Which training rows a deletion names: five percent, the largest subject, half a class."""
    draw = torch.Generator().manual_seed(0)
    labels, count = study.training.targets, len(study.training)
    if deletion == "random":
        return torch.randperm(count, generator=draw)[: int(RANDOM_SHARE * count)].sort().values
    if deletion == "subject":
        return (study.subjects == study.subjects.bincount().argmax()).nonzero()[:, 0]
    members = (labels == study.halved).nonzero()[:, 0]
    half = torch.randperm(len(members), generator=draw)[: len(members) // 2]
    return members[half].sort().values


def recipe_of(epochs: int, seed: int) -> Recipe:
    """Adam at a constant rate, long enough to over-fit."""
    return Recipe("adam", 1e-3, 64, epochs, seed=seed, initialisation_seed=seed)


def trained(study: Study, rows: TensorRows, recipe: Recipe) -> nn.Module:
    """The network of the study, trained from scratch."""
    model = initialise(study.build, recipe.initialisation_seed)
    train(model, rows, study.objective, recipe)
    return model


def trained_or_kept(
    folder: Path | None, name: str, study: Study, rows: TensorRows, recipe: Recipe
) -> tuple[nn.Module, float]:
    """The network of the study and the seconds of the processor that training took.

    Args:
        folder: Networks trained earlier are read from here, others are written; None: neither.
        name: Of the network in the folder.
        study: The study.
        rows: Trained on.
        recipe: How.

    Returns:
        The network, in eval mode, and the seconds.
    """
    return kept_networks.trained_or_kept(
        folder, name, study.build, lambda: trained(study, rows, recipe)
    )


def without(study: Study, gone: Tensor) -> TensorRows:
    """The retained rows."""
    kept = torch.ones(len(study.training), dtype=torch.bool)
    kept[gone] = False
    return TensorRows(study.training.inputs[kept], study.training.targets[kept])


def forgotten(study: Study, gone: Tensor) -> TensorRows:
    """The deleted rows."""
    return TensorRows(study.training.inputs[gone], study.training.targets[gone])


def problem_of(study: Study, gone: Tensor, original: nn.Module, recipe: Recipe) -> Problem:
    """The deletion of ``gone`` from ``original``."""
    retained = without(study, gone)
    return Problem(
        model=original,
        objective=study.objective,
        kind="deletion",
        forget=forgotten(study, gone),
        replacement=empty(),
        retained=retained,
        retained_total=len(retained),
        generator_seed=recipe.seed,
        holdout=study.holdout,
        recipe=recipe,
        full_retained=lambda: retained,
        build=study.build,
    )
