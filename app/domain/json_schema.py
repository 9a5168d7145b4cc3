"""The part of JSON Schema (2020-12) that our own parameter schemas use.

Known keywords: ``type, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum,
properties, required, additionalProperties, items, minItems, maxItems, anyOf, oneOf``. A test
holds every committed schema against this list, so that none is silently ignored.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.domain.errors import FieldError
from app.domain.texts import escape

ANNOTATIONS = frozenset({"title", "description", "default", "$schema", "examples"})
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    "number": lambda value: _is_number(value),  # noqa: PLW0108 - defined below
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, limit: value >= limit, "at least"),
    "maximum": (lambda value, limit: value <= limit, "at most"),
    "exclusiveMinimum": (lambda value, limit: value > limit, "more than"),
    "exclusiveMaximum": (lambda value, limit: value < limit, "less than"),
}
COUNTS: Mapping[str, tuple[Callable[[int, int], bool], str]] = {
    "minItems": (lambda count, limit: count >= limit, "at least"),
    "maxItems": (lambda count, limit: count <= limit, "at most"),
}
KEYWORDS = (
    {"type", "enum", "const", "properties", "required", "additionalProperties", "items"}
    | {"anyOf", "oneOf"}
    | set(BOUNDS)
    | set(COUNTS)
    | ANNOTATIONS
)


def faults(schema: Mapping[str, Any], value: object, pointer: str = "") -> list[FieldError]:
    """Return everything wrong with a decoded JSON value, each with its pointer.

    >>> [fault.pointer for fault in faults({"type": "object", "properties": {
    ...     "fraction": {"type": "number", "maximum": 1}}}, {"fraction": 2})]
    ['/fraction']
    """
    return list(_faults(schema, value, pointer))


def _faults(schema: Mapping[str, Any], value: Any, pointer: str) -> Iterator[FieldError]:
    if "type" in schema:
        named = schema["type"]
        wanted = [named] if isinstance(named, str) else list(named)
        if not any(TYPES[name](value) for name in wanted):
            yield FieldError(pointer, "wrong-type", f"takes {' or '.join(wanted)}")
            return
    if "enum" in schema and value not in schema["enum"]:
        choice = ", ".join(map(str, schema["enum"]))
        yield FieldError(pointer, "unknown-value", f"takes one of {choice}")
    if "const" in schema and value != schema["const"]:
        yield FieldError(pointer, "unknown-value", f"takes {schema['const']}")
    for keyword in ("anyOf", "oneOf"):
        branches = [list(_faults(branch, value, pointer)) for branch in schema.get(keyword, ())]
        if branches and all(branches):
            yield from min(branches, key=len)
    if _is_number(value):
        for keyword, (holds, word) in BOUNDS.items():
            if keyword in schema and not holds(value, schema[keyword]):
                yield FieldError(pointer, "out-of-range", f"takes {word} {schema[keyword]}")
    if isinstance(value, list):
        yield from _list_faults(schema, value, pointer)
    if isinstance(value, dict):
        yield from _object_faults(schema, value, pointer)


def _list_faults(schema: Mapping[str, Any], value: list[Any], pointer: str) -> Iterator[FieldError]:
    for keyword, (holds, word) in COUNTS.items():
        if keyword in schema and not holds(len(value), schema[keyword]):
            yield FieldError(pointer, "wrong-length", f"takes {word} {schema[keyword]} items")
    if "items" in schema:
        for position, item in enumerate(value):
            yield from _faults(schema["items"], item, f"{pointer}/{position}")


def _object_faults(
    schema: Mapping[str, Any], value: dict[str, Any], pointer: str
) -> Iterator[FieldError]:
    known: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield FieldError(f"{pointer}/{escape(name)}", "missing", "is required")
    for name, part in value.items():
        step = f"{pointer}/{escape(name)}"
        if name in known:
            yield from _faults(known[name], part, step)
        elif schema.get("additionalProperties") is False:
            yield FieldError(step, "unknown-field", "is not known")
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _faults(schema["additionalProperties"], part, step)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
