"""What a version declares, held against its dataset before any weights arrive."""

import math
from dataclasses import dataclass
from typing import Any

from app.domain import recipes
from app.domain.architecture_config import check_architecture
from app.domain.catalog import Dataset, Revision
from app.domain.errors import FieldError
from app.domain.orders import VersionOrder
from app.domain.texts import document_faults, refuse_if
from app.infra.rows import BadInputs, ColumnSpec
from app.infra.rows.input_specs import check_inputs, check_targets
from app.infra.settings import settings

OBJECTIVES = (
    "cross_entropy",
    "binary_cross_entropy",
    "mean_squared_error",
    "causal_language_model",
)
LARGEST_DECAY = 1e6


@dataclass(frozen=True)
class Declared:
    """What follows from a checked declaration: the recipe and the scalars, where known."""

    recipe: dict[str, Any] | None
    parameters: int | None


def checked_version(order: VersionOrder, dataset: Dataset, revision: Revision) -> Declared:
    """Check a declaration.

    Args:
        order: What is declared.
        dataset: The dataset it was trained on.
        revision: The revision of it.

    Returns:
        What follows.

    Raises:
        Refused: With every field at fault; an architecture that cannot be built is
            ``invalid-architecture``.
    """
    documents = {
        "architecture": order.architecture,
        "inputs": order.inputs,
        "recipe": order.recipe or {},
    }
    refuse_if([
        fault
        for name, document in documents.items()
        for fault in document_faults(document, f"/{name}")
    ])
    faults = _split_faults(order, revision) + _number_faults(order)
    if order.recipe is not None:
        faults += recipes.recipe_faults(order.recipe, "/recipe", weight_decay=order.weight_decay)
    faults += _input_faults(order, dataset, revision)
    refuse_if(faults)
    parameters = check_architecture(dict(order.architecture), "/architecture").parameters
    limit = settings().max_parameters
    if parameters is not None and parameters > limit:
        detail = f"has {parameters} parameters, more than {limit}"
        refuse_if([FieldError("/architecture", "too-many-parameters", detail)])
    return Declared(
        recipe=None if order.recipe is None else recipes.complete(order.recipe),
        parameters=parameters,
    )


def _split_faults(order: VersionOrder, revision: Revision) -> list[FieldError]:
    splits = revision.splits or {}
    faults = [
        FieldError(f"/{name}", "unknown-split", "the revision has no such split")
        for name in ("training_split", "holdout_split")
        if (wanted := getattr(order, name)) is not None and wanted not in splits
    ]
    if order.holdout_split is not None and order.holdout_split == order.training_split:
        detail = "is trained on, so it is not held out"
        faults.append(FieldError("/holdout_split", "not-held-out", detail))
    return faults


def _number_faults(order: VersionOrder) -> list[FieldError]:
    faults = []
    if order.objective not in OBJECTIVES:
        detail = f"takes one of {', '.join(OBJECTIVES)}"
        faults.append(FieldError("/objective", "unknown-objective", detail))
    decay = order.weight_decay
    if not (math.isfinite(decay) and 0 <= decay <= LARGEST_DECAY):
        detail = f"takes 0 to {LARGEST_DECAY:g}"
        faults.append(FieldError("/weight_decay", "out-of-range", detail))
    return faults


def _input_faults(order: VersionOrder, dataset: Dataset, revision: Revision) -> list[FieldError]:
    columns = {spec["name"]: ColumnSpec.from_json(spec) for spec in revision.columns or ()}
    label = dataset.columns.get("label")
    features = {name: spec for name, spec in columns.items() if name != label}
    faults = []
    try:
        check_inputs(dict(order.inputs), features)
    except BadInputs as error:
        pointer = f"/inputs{error.pointer}"
        faults.append(FieldError(pointer, "invalid-inputs", error.reason))
    if order.objective in OBJECTIVES:
        try:
            check_targets(order.objective, columns.get(label) if label else None)
        except BadInputs as error:
            faults.append(FieldError(error.pointer, "invalid-objective", error.reason))
    return faults
