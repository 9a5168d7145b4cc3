"""From a job's row in the database to a problem that a method can work on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from app.domain.catalog import Version
from app.domain.edits import Edits, View
from app.infra.settings import settings
from app.infra.storage import ObjectMissing, open_store
from app.unlearning import architectures
from app.unlearning.convexity import is_convex
from app.unlearning.methods import retained_rows
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.recipe import Perturbation, Recipe
from app.unlearning.rows import Rows, concatenate
from app.unlearning.verification import RowSets
from workers.networks import open_network
from workers.reading import (
    Reader,
    holdout_numbers,
    in_memory,
    open_reader,
    retained_numbers,
    sample,
    seed_of,
)

HOLDOUT_ROWS = 10_000
"""Held-out rows measured at most: a 95 % interval of an accuracy is then within 0.01."""


@dataclass(frozen=True)
class Loaded:
    """A problem, and the rows its result is measured on.

    Attributes:
        problem: The problem.
        sets: The rows to measure on.
        only_measured: Retained rows to measure on that are not at hand for the method.
        left_out: Training rows that are not among the retained ones, for a label that they have
            been corrected to and the network has no output for.
    """

    problem: Problem
    sets: RowSets
    only_measured: int = 0
    left_out: int = 0


def load(
    view: View,
    job_id: str,
    parameters: Mapping[str, Any],
    device: torch.device,
    progress: Callable[[float], None],
    spent: float | None = None,
    model: nn.Module | None = None,
) -> Loaded:
    """Open a job's network and rows.

    Retained rows are a uniform sample of at most ``retained_rows``; a convex model gets all of
    them unless the policy sets a bound. Retained rows carry the corrections of every accepted
    request, affected rows the values the version was trained on. A method fits the retained rows it
    has at hand; where these are not all, its result is measured on a second sample of them.

    Args:
        view: What the job works on.
        job_id: Seeds whatever is drawn, so that every attempt draws the same.
        parameters: The policy's parameters.
        device: Where the tensors go.
        progress: Handed to the method.
        spent: What training and earlier certified updates may have left of the gradient.
        model: Stands for the version's network, where that is destroyed and nothing reads it.

    Returns:
        The problem, without the stored curvature (see ``stored_curvature``), and the rows to
        measure on.
    """
    version, own = view.version, view.own
    objective = Objective(version.objective, version.weight_decay)  # type: ignore[arg-type]  # checked at registration
    model = open_network(version, device) if model is None else model
    root = settings().rows_folder
    reader = open_reader(root, own, version, device)
    readers = [(own, reader)]
    readers += [(edits, open_reader(root, edits, version, device)) for edits in view.inherited]
    every = retained_numbers(reader.store, own)
    numbers = reader.without_unusable(every, own.edited)
    seed = seed_of(job_id)

    @cache
    def every_retained_row() -> Rows:
        return in_memory(reader.rows(numbers, own.edited))

    drawn = measured = numbers
    if is_convex(model, objective) and "retained_rows" not in parameters:
        retained = seen = every_retained_row()
    else:
        drawn = sample(numbers, retained_rows(parameters), seed)
        retained = seen = in_memory(reader.rows(drawn, own.edited))
    if len(drawn) < len(numbers):
        measured = sample(numbers, len(drawn), seed_of(f"{job_id}/measured"))
        seen = in_memory(reader.rows(measured, own.edited))
    usable = reader.without_unusable(holdout_numbers(reader.store, own), own.edited)
    held_out = sample(usable, HOLDOUT_ROWS, seed)
    holdout = in_memory(reader.rows(held_out, own.edited))
    # Rows of an ancestor's dataset are read through this version's own inputs.
    affected = [in_memory(r.rows(edits.forget, edits.trained)) for edits, r in readers]
    replaced = [in_memory(r.rows(edits.replaced, edits.edited)) for edits, r in readers]
    forget = concatenate(*affected)
    problem = Problem(
        model=model,
        objective=objective,
        kind=view.kind,  # type: ignore[arg-type]  # one of the four
        forget=forget,
        replacement=concatenate(*replaced),
        retained=retained,
        retained_total=len(numbers),
        generator_seed=seed,
        holdout=holdout if len(holdout) else None,
        recipe=_recipe(version),
        full_retained=every_retained_row,
        untouched=_untouched(view, reader, every_retained_row),
        spent=spent,
        build=_builder(version),
        progress=progress,
    )
    deleted, relabelled = _deleted(readers, forget), _relabelled(readers)
    return Loaded(
        problem,
        RowSets(forget, seen, holdout, deleted, relabelled),
        only_measured=len(np.setdiff1d(measured, drawn, assume_unique=True)),
        left_out=len(every) - len(numbers),
    )


def stored_curvature(version: Version, device: torch.device) -> StoredCurvature | None:
    """Open the diagonal that was prepared for a version, if there is one."""
    record = version.curvature
    if record is None:
        return None
    try:
        with (
            open_store(settings().store_url).local_copy(record["key"]) as path,
            safe_open(path, framework="pt", device="cpu") as file,
        ):
            values: dict[str, Tensor] = {
                name: file.get_tensor(name).to(device)
                for name in file.keys()  # noqa: SIM118 - not a mapping
            }
    except ObjectMissing:
        return None
    return StoredCurvature(values, record["estimator"], record["rows"], record.get("seed", 0))


def _recipe(version: Version) -> Recipe | None:
    if version.recipe is None:
        return None
    fields = dict(version.recipe)
    noise = fields.pop("perturbation", None)
    return Recipe(**fields, perturbation=None if noise is None else Perturbation(**noise))


def _untouched(
    view: View, reader: Reader, retained: Callable[[], Rows]
) -> Callable[[], Rows] | None:
    """Return what opens the training rows that the job leaves alone, as they were trained on.

    With the affected rows they are exactly what the version was trained on, rows included that
    other requests are about to delete; None where the two cannot be told apart.
    """
    own = view.own
    if view.inherited or not own.is_separate:
        return None
    if not len(own.pending) and not own.edited:
        return retained
    gone = np.setdiff1d(own.removed, own.pending)
    numbers = np.setdiff1d(reader.store.in_split(own.split), np.union1d(own.forget, gone))
    return cache(lambda: in_memory(reader.rows(numbers, own.trained)))


def _deleted(readers: list[tuple[Edits, Reader]], forget: Rows) -> Rows:
    """Return the affected rows that do not come back."""
    if not any(len(edits.replaced) for edits, _ in readers):
        return forget
    return concatenate(
        *(
            in_memory(reader.rows(np.setdiff1d(edits.forget, edits.replaced), edits.trained))
            for edits, reader in readers
        )
    )


def _relabelled(readers: list[tuple[Edits, Reader]]) -> Rows:
    """Return the rows that come back with another label, with that label."""
    parts = []
    for edits, reader in readers:
        label = reader.store.roles.label
        if label is None or not len(edits.replaced) or not edits.edited.covers(label):
            continue
        old = reader.store.cells(label, edits.replaced, edits.trained)
        new = reader.store.cells(label, edits.replaced, edits.edited)
        differs = np.array([a != b for a, b in zip(old, new, strict=True)], bool)
        parts.append(in_memory(reader.rows(edits.replaced[differs], edits.edited)))
    return concatenate(*parts)


def _builder(version: Version) -> Callable[[], torch.nn.Module]:
    seed = (version.recipe or {}).get("initialisation_seed", 0)
    return lambda: architectures.initialise(version.architecture, seed)
