"""Whether the arguments of one layer are what the allow-list says."""

import math
from collections.abc import Mapping
from typing import Any

from app.unlearning.architectures.layers import MAX_DIMENSIONS, MAX_SIZE, Argument, Layer
from app.unlearning.errors import ArchitectureError


def check_arguments(layer: Layer, given: Mapping[str, Any], pointer: str) -> None:
    """Check the arguments of one layer, in the order of the allow-list.

    Args:
        layer: The allowed layer.
        given: Its description, ``type`` left out.
        pointer: Where the description stands, for the error.

    Raises:
        ArchitectureError: An argument is unknown, missing, of the wrong type or out of range,
            or two arguments do not go together.
    """
    for name in given:
        if name not in layer.arguments:
            raise ArchitectureError(f"{pointer}/{escape(name)}", "unknown argument")
    for name, argument in layer.arguments.items():
        if name in given:
            reason = _fault(argument, given[name])
            if reason is not None:
                raise ArchitectureError(f"{pointer}/{name}", reason)
        elif argument.is_required:
            raise ArchitectureError(f"{pointer}/{name}", "missing")
    for rule in layer.rules:
        _check_rule(rule, layer, given, pointer)


def escape(name: str) -> str:
    """Write a name as one step of a JSON Pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def _fault(argument: Argument, value: object) -> str | None:
    """Say what is wrong with a value, or None."""
    if value is None:
        return None if argument.is_nullable else "must not be null"
    if argument.kind == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if argument.kind == "choice" or (argument.choices and isinstance(value, str)):
        known = isinstance(value, str) and value in argument.choices
        return None if known else f"must be one of {', '.join(argument.choices)}"
    if argument.kind == "number":
        return _number_fault(argument, value)
    if argument.kind == "integer" or not isinstance(value, list):
        if argument.is_list:
            return "must be a list of integers"
        return _integer_fault(argument, value)
    return _list_fault(argument, value)


def _number_fault(argument: Argument, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    return _range_fault(argument, value)


def _integer_fault(argument: Argument, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return "must be an integer"
    return _range_fault(argument, value)


def _range_fault(argument: Argument, value: float) -> str | None:
    low = -math.inf if argument.low is None else argument.low
    high = math.inf if argument.high is None else argument.high
    # Written so that NaN, which compares false with everything, is out of range.
    return None if low <= value <= high else f"must be from {low} to {high}"


def _list_fault(argument: Argument, items: list[object]) -> str | None:
    if argument.rank is not None and len(items) != argument.rank:
        return f"must be an integer or a list of {argument.rank}"
    if not 1 <= len(items) <= MAX_DIMENSIONS:
        return f"must hold from 1 to {MAX_DIMENSIONS} integers"
    product = 1
    for item in items:
        if item is None and argument.has_nullable_items:
            continue
        reason = _integer_fault(argument, item)
        if reason is not None:
            return f"each item {reason}"
        product *= item if isinstance(item, int) else 1
    if argument.kind == "shape" and product > MAX_SIZE:
        return f"must have a product of at most {MAX_SIZE}"
    return None


def _check_rule(
    rule: tuple[str, ...], layer: Layer, given: Mapping[str, Any], pointer: str
) -> None:
    def value(name: str) -> Any:  # whatever JSON holds; already checked
        return given.get(name, layer.arguments[name].default)

    kind, *names = rule
    if kind == "divides":
        divisor, of = names
        if value(of) % value(divisor):
            raise ArchitectureError(f"{pointer}/{of}", f"must be divisible by {divisor}")
    elif kind == "index":
        index, of = names
        if value(index) is not None and not -value(of) <= value(index) < value(of):
            raise ArchitectureError(f"{pointer}/{index}", f"must be an index into {of}")
    elif kind == "same_needs_unit_stride":
        stride = value("stride")
        if value("padding") == "same" and any(s != 1 for s in _spread(stride)):
            raise ArchitectureError(f"{pointer}/padding", "same padding needs a stride of 1")
    else:
        raise LookupError(f"the table of layers names no such rule: {kind}")


def _spread(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
