"""Deletions of the deletion study, and the networks they meet."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train
from app.unlearning.verification.evaluation import evaluate
from benchmarks.quality import kept_networks
from benchmarks.quality.deletion_sets import Study

DELETIONS: Final = ("random", "subject", "class")
OTHER_CLASSES: Final = ("middle_class", "easy_class")
"""Half of other classes than the one the study names, which is a hard one."""
RANDOM_SHARE = 0.05
# Seconds of the processor for which epochs are run to time one of them.
_TIMED = 1.0


def deleted(study: Study, deletion: str, ranked: Sequence[int] = ()) -> Tensor:
    """Which training rows a deletion names: five percent, the largest subject, half a class.

    Args:
        study: The study.
        deletion: One of ``DELETIONS`` and ``OTHER_CLASSES``.
        ranked: Classes from the hardest to the easiest, for ``OTHER_CLASSES``.

    Returns:
        Positions in ascending order.
    """
    draw = torch.Generator().manual_seed(0)
    labels, count = study.training.targets, len(study.training)
    if deletion == "random":
        return torch.randperm(count, generator=draw)[: int(RANDOM_SHARE * count)].sort().values
    if deletion == "subject":
        return (study.subjects == study.subjects.bincount().argmax()).nonzero()[:, 0]
    halved = study.halved
    if deletion in OTHER_CLASSES:
        halved = ranked[len(ranked) // 2] if deletion == "middle_class" else ranked[-1]
    members = (labels == halved).nonzero()[:, 0]
    half = torch.randperm(len(members), generator=draw)[: len(members) // 2]
    return members[half].sort().values


def by_difficulty(study: Study, model: nn.Module) -> list[int]:
    """Classes from the hardest to the easiest, by a network's accuracy on held-out rows."""
    found = evaluate(model, study.objective, study.holdout)
    if found.correct is None or found.labels is None:
        return []
    labels, correct = found.labels.long(), found.correct.double()
    right = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add_(0, labels, correct)
    return (right / labels.bincount().clamp(min=1)).argsort(stable=True).tolist()


def epoch_seconds(study: Study, rows: TensorRows, recipe: Recipe) -> float:
    """Seconds of the processor that an epoch of the recipe takes now, in this process.

    What else runs on the machine slows a process down by other amounts at other times, so an
    update is compared with what training costs right beside it.
    """
    model = initialise(study.build, recipe.initialisation_seed)
    one, epochs = replace(recipe, epochs=1), 0
    started = time.process_time()
    while time.process_time() - started < _TIMED:
        train(model, rows, study.objective, one)
        epochs += 1
    return (time.process_time() - started) / epochs


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
) -> nn.Module:
    """The network of the study, trained now or read.

    Args:
        folder: Networks trained earlier are read from here, others are written; None: neither.
        name: Of the network in the folder.
        study: The study.
        rows: Trained on.
        recipe: How.

    Returns:
        The network, in eval mode.
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
