"""Whether the arguments of one layer are what ``architectures.json`` allows.

The same rules as ``app.unlearning.architectures.arguments``, which this side cannot import: the
API process has no torch. A test holds both against each other.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.errors import FieldError, Refused


class InvalidArchitecture(Refused):
    """An architecture cannot be built; names the first part at fault."""

    code = "invalid-architecture"
    title = "The architecture cannot be built"

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(errors=[FieldError(pointer, self.code, reason)])


def escape(name: object) -> str:
    """Write a name as one step of a JSON Pointer (RFC 6901, section 3)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def checked_arguments(
    layer: dict[str, Any], given: dict[str, Any], pointer: str, limits: Mapping[str, int]
) -> dict[str, Any]:
    """Check one layer's arguments, in the order of the allow-list.

    Args:
        layer: The layer's entry in the allow-list.
        given: Its description, ``type`` left out.
        pointer: JSON Pointer of the description, for the errors.
        limits: The allow-list's limits.

    Returns:
        The arguments, with the defaults that rules and tensors refer to.

    Raises:
        InvalidArchitecture: An argument is unknown, missing, of the wrong type or out of range,
            or two arguments do not go together.
    """
    arguments: dict[str, dict[str, Any]] = layer["arguments"]
    for name in given:
        if name not in arguments:
            raise InvalidArchitecture(f"{pointer}/{escape(name)}", "unknown argument")
    for name, argument in arguments.items():
        if name in given:
            reason = _value_fault(argument, given[name], limits)
            if reason is not None:
                raise InvalidArchitecture(f"{pointer}/{name}", reason)
        elif argument.get("is_required", False):
            raise InvalidArchitecture(f"{pointer}/{name}", "missing")
    values = {name: given.get(name, a.get("default")) for name, a in arguments.items()}
    for rule in layer["rules"]:
        _check_rule(rule, values, pointer)
    return values


def _value_fault(argument: dict[str, Any], value: object, limits: Mapping[str, int]) -> str | None:
    kind = argument["kind"]
    choices: Sequence[str] = argument.get("choices", ())
    if value is None:
        return None if argument.get("is_nullable", False) else "must not be null"
    if kind == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if kind == "choice" or (choices and isinstance(value, str)):
        return None if value in choices else f"must be one of {', '.join(choices)}"
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return _range_fault(argument, value) if is_number else "must be a number"
    if kind == "integer" or not isinstance(value, list):
        if argument.get("is_list", False):
            return "must be a list of integers"
        return _integer_fault(argument, value)
    return _list_fault(argument, value, limits)


def _integer_fault(argument: dict[str, Any], value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return "must be an integer"
    return _range_fault(argument, value)


def _range_fault(argument: dict[str, Any], value: Any) -> str | None:
    low, high = argument.get("low", -math.inf), argument.get("high", math.inf)
    # NaN compares false with everything and is out of range.
    return None if low <= value <= high else f"must be from {low} to {high}"


def _list_fault(
    argument: dict[str, Any], items: list[Any], limits: Mapping[str, int]
) -> str | None:
    rank = argument.get("rank")
    if rank is not None and len(items) != rank:
        return f"must be an integer or a list of {rank}"
    if not 1 <= len(items) <= limits["dimensions"]:
        return f"must hold from 1 to {limits['dimensions']} integers"
    for item in items:
        if item is None and argument.get("has_nullable_items", False):
            continue
        reason = _integer_fault(argument, item)
        if reason is not None:
            return f"each item {reason}"
    if argument["kind"] == "shape" and math.prod(items) > limits["size"]:
        return f"must have a product of at most {limits['size']}"
    return None


def _check_rule(rule: list[str], values: dict[str, Any], pointer: str) -> None:
    kind, *names = rule
    if kind == "divides":
        divisor, of = names
        if values[of] % values[divisor]:
            raise InvalidArchitecture(f"{pointer}/{of}", f"must be divisible by {divisor}")
    elif kind == "index":
        index, of = names
        if values[index] is not None and not -values[of] <= values[index] < values[of]:
            raise InvalidArchitecture(f"{pointer}/{index}", f"must be an index into {of}")
    elif kind == "same_needs_unit_stride":
        stride = values["stride"]
        strides = stride if isinstance(stride, list) else [stride]
        if values["padding"] == "same" and any(s != 1 for s in strides):
            raise InvalidArchitecture(f"{pointer}/padding", "same padding needs a stride of 1")
    else:
        raise LookupError(f"the table of layers names no such rule: {kind}")
