"""The recipe a version was trained by, checked when the version is registered.

``trained`` and ``perturbation`` are what a certified deletion rests on; what they mean is said
where the numerics read them.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.domain.errors import FieldError
from app.domain.json_schema import faults

LARGEST_SEED = 2**63 - 1
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["optimizer", "learning_rate", "epochs"],
    "properties": {
        "optimizer": {"type": "string", "enum": ["sgd", "adam", "adamw", "lbfgs"]},
        "learning_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6},
        "momentum": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "batch_size": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "epochs": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
        "schedule": {"type": "string", "enum": ["constant", "cosine"]},
        "initialisation_seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
        "trained": {"type": "string", "enum": ["all", "last_layer"]},
        "perturbation": {
            "type": "object",
            "additionalProperties": False,
            "required": ["standard_deviation", "gradient_norm"],
            "properties": {
                "standard_deviation": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12},
                "gradient_norm": {"type": "number", "minimum": 0, "maximum": 1e12},
            },
        },
    },
}
DEFAULTS: Final[Mapping[str, Any]] = {
    "momentum": 0.0,
    "batch_size": 1024,
    "seed": 0,
    "schedule": "constant",
    "initialisation_seed": 0,
}
INTEGERS = ("batch_size", "epochs", "seed", "initialisation_seed")


def recipe_faults(
    recipe: Mapping[str, Any], pointer: str, *, weight_decay: float
) -> list[FieldError]:
    """Return what is wrong with a recipe.

    ``batch_size`` may be left out for ``lbfgs`` only. Noise in the objective needs weight decay: a
    proof is about strongly convex objectives.
    """
    found = faults(SCHEMA, dict(recipe), pointer)
    if not found and recipe["optimizer"] != "lbfgs" and "batch_size" not in recipe:
        found.append(FieldError(f"{pointer}/batch_size", "missing", "is required"))
    if not found and "perturbation" in recipe and not weight_decay > 0:
        found.append(
            FieldError(
                f"{pointer}/perturbation", "needs-weight-decay", "needs a weight_decay above 0"
            )
        )
    return found


def complete(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checked recipe with its defaults, integral numbers as integers."""
    whole = {**DEFAULTS, **recipe}
    return whole | {name: int(whole[name]) for name in INTEGERS}
