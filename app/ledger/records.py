"""Records: frozen dataclasses that are read from JSON strictly, and written back.

The dataclass is the schema. Every member must be there and of its type; an unknown member is
an error; a field of type ``X | None`` with the default None may be absent. Read what is
signed this way, and nothing can hide in it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from app.ledger.encoding import Json
from app.ledger.errors import MalformedRecord

T = TypeVar("T")


@dataclass(frozen=True)
class Matching:
    """Narrows a text to those that a regular expression matches whole.

    Attributes:
        pattern: The expression.
        meaning: What such a text is, for the error.
    """

    pattern: str
    meaning: str


@dataclass(frozen=True)
class AtLeast:
    """Narrows an integer to those from ``least`` on."""

    least: int


Name = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", "a name or id")]
Text = Annotated[str, Matching(r"[^\x00-\x1f\x7f]{1,2000}", "a line of text")]
Digest = Annotated[str, Matching(r"[0-9a-f]{64}", "a SHA-256 in lower hexadecimal")]
Count = Annotated[int, AtLeast(0)]
Decimal = Annotated[
    str, Matching(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?(e[+-]?[0-9]{1,3})?", "a decimal number")
]
MOMENT = Matching(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z",
    "a time of RFC 3339 in UTC",
)
Moment = Annotated[str, MOMENT]


def read_record(kind: type[T], document: object, pointer: str = "") -> T:
    """Read a record from a document.

    Args:
        kind: A frozen dataclass whose fields are of the types above, texts, integers,
            booleans, literals, tuples, mappings of texts, ``object`` (any document), other
            such dataclasses, or one of these or None.
        document: What ``encoding.parse`` returned.
        pointer: JSON pointer to the document, for errors.

    Returns:
        The record.

    Raises:
        MalformedRecord: A member is missing, unknown or of the wrong kind.
    """
    members = _of_type(dict, document, pointer)
    hints = _hints(cast("Hashable", kind))
    if not members.keys() <= hints.keys():
        raise MalformedRecord(pointer, "has a member that is not known here")
    values = {}
    for name, hint in hints.items():
        if name in members:
            values[name] = _read(hint, members[name], f"{pointer}/{name}")
        elif not _may_be_absent(hint):
            raise MalformedRecord(f"{pointer}/{name}", "is missing")
    return kind(**values)


def write_record(record: object) -> dict[str, Json]:
    """Return the document that ``read_record`` reads as this record; None is left out."""
    members = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(cast("Any", record))  # Any: there is no type for it.
    }
    return {name: _written(value) for name, value in members.items() if value is not None}


def moment(text: str) -> datetime:
    """Return the time that a ``Moment`` says, aware of its zone.

    Raises:
        ValueError: There is no such day or hour.
    """
    return datetime.fromisoformat(text)


@cache
def _hints(kind: Hashable) -> dict[str, object]:
    return get_type_hints(kind, include_extras=True)


def _may_be_absent(hint: object) -> bool:
    return get_origin(hint) in {Union, UnionType} and NoneType in get_args(hint)


def _read(hint: Any, value: object, pointer: str) -> object:  # Any: hints have no common type.
    if _may_be_absent(hint):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is object:
        return value
    if origin is Annotated:
        read = _read(arguments[0], value, pointer)
        _check(arguments[1], read, pointer)
        return read
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise MalformedRecord(pointer, f"is none of: {', '.join(arguments)}")
        return value
    if origin is tuple:
        items = _of_type(list, value, pointer)
        return tuple(_read(arguments[0], item, f"{pointer}/{n}") for n, item in enumerate(items))
    if origin is Mapping:
        members = _of_type(dict, value, pointer)
        return {
            _read(arguments[0], name, pointer): _read(arguments[1], item, f"{pointer}/*")
            for name, item in members.items()
        }
    if dataclasses.is_dataclass(hint):
        return read_record(cast("type[object]", hint), value, pointer)
    return _of_type(hint, value, pointer)


def _of_type(kind: type[T], value: object, pointer: str) -> T:
    # Not isinstance: True is an integer to Python, and not to JSON.
    if type(value) is not kind:
        raise MalformedRecord(pointer, f"is not of type {kind.__name__}")
    return value


def _check(rule: object, value: object, pointer: str) -> None:
    if isinstance(rule, Matching) and not re.fullmatch(rule.pattern, str(value)):
        raise MalformedRecord(pointer, f"is not {rule.meaning}")
    if isinstance(rule, AtLeast) and cast("int", value) < rule.least:
        raise MalformedRecord(pointer, f"is below {rule.least}")
    if rule is MOMENT:
        try:
            moment(str(value))
        except ValueError as error:
            raise MalformedRecord(pointer, "names a day or hour that does not exist") from error


def _written(value: object) -> Json:
    if isinstance(value, (str, int)):
        return value
    if dataclasses.is_dataclass(value):
        return write_record(value)
    if isinstance(value, (list, tuple)):
        return [_written(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _written(item) for name, item in value.items()}
    return cast("Json", value)
