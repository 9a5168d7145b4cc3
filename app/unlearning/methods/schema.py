"""Hyperparameters as dataclass fields: their JSON Schema, and the check against it.

The schema published for a method is generated from the fields of its dataclass, and values are
checked by the same description, so that the two cannot disagree.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from app.unlearning.errors import BadParameters
from app.unlearning.update import JSON

T = TypeVar("T")
_METADATA = "hyperparameter"


@dataclass(frozen=True)
class Constraint:
    """What a hyperparameter means and which values it may take."""

    description: str
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None


def hyperparameter(
    default: T,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
) -> T:
    """Declare a field of a method.

    Args:
        default: The value when none is given.
        description: One sentence for the schema.
        minimum: Smallest value allowed.
        maximum: Largest value allowed.
        above: Values must be greater than this.

    Returns:
        What a dataclass field is declared with, under the type of its default.
    """
    constraint = Constraint(description, minimum, maximum, above)
    return dataclasses.field(default=default, metadata={_METADATA: constraint})


def json_schema(method: type, extra: Mapping[str, JSON]) -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of a dataclass whose fields are hyperparameters.

    Args:
        method: The dataclass.
        extra: Schemas of parameters that are no fields of it.

    Returns:
        The schema of an object that has no other properties.
    """
    properties: dict[str, JSON] = {}
    hints = get_type_hints(method)
    for field in dataclasses.fields(method):
        properties[field.name] = property_schema(
            hints[field.name], field.metadata[_METADATA], cast("JSON", field.default)
        )
    every: dict[str, JSON] = properties | dict(extra)
    return {"type": "object", "properties": every, "additionalProperties": False}


def property_schema(hint: Any, constraint: Constraint, default: JSON) -> dict[str, JSON]:
    """The JSON Schema of one hyperparameter.

    Args:
        hint: Its type: bool, int, float, a Literal of strings, or one of these or None.
        constraint: Its description and range.
        default: Its default.

    Returns:
        The schema.

    Raises:
        TypeError: The type has no schema here.
    """
    inner, optional = _without_none(hint)
    schema: dict[str, JSON]
    if get_origin(inner) is Literal:
        values = [*get_args(inner), *([None] if optional else [])]
        schema = {"enum": values}
    elif inner in _TYPES:
        name = _TYPES[inner]
        schema = {"type": [name, "null"] if optional else name}
    else:
        raise TypeError(f"no schema for {hint!r}")
    limits = {
        "minimum": constraint.minimum,
        "maximum": constraint.maximum,
        "exclusiveMinimum": constraint.above,
    }
    schema |= {name: limit for name, limit in limits.items() if limit is not None}
    return schema | {"default": default, "description": constraint.description}


def check(schema: Mapping[str, JSON], values: Mapping[str, JSON]) -> None:
    """Check values against a schema made by :func:`json_schema`.

    Raises:
        BadParameters: A name is unknown, or a value has the wrong type or is out of range.
    """
    properties = cast("Mapping[str, Mapping[str, Any]]", schema["properties"])
    for name, value in values.items():
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        if name not in properties:
            raise BadParameters(pointer, f"unknown; known: {', '.join(properties)}")
        fault = _fault(properties[name], value)
        if fault:
            raise BadParameters(pointer, fault)


_TYPES = {bool: "boolean", int: "integer", float: "number"}


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [arm for arm in get_args(hint) if arm is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def _fault(schema: Mapping[str, Any], value: JSON) -> str | None:
    """What is wrong with a value, or None."""
    if "enum" in schema:
        known = ", ".join("null" if v is None else str(v) for v in schema["enum"])
        # Membership alone would take 1 for True.
        fits = value is None or isinstance(value, str)
        return None if fits and value in schema["enum"] else f"must be one of {known}"
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if value is None:
        return None if "null" in allowed else "must not be null"
    if allowed[0] == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "must be a number"
    if allowed[0] == "integer" and int(value) != value:
        return "must be an integer"
    if "minimum" in schema and value < schema["minimum"]:
        return f"must be at least {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"must be at most {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        return f"must be greater than {schema['exclusiveMinimum']}"
    return None
