"""Canonical JSON: one sequence of bytes for each document (RFC 8785).

Restricted to what has only one spelling everywhere: objects, arrays, strings, booleans and
integers of absolute value below 2^53. There are no floats, so that no two languages can
disagree about a digit (measured values travel as decimal text). There is no null: what is
absent is left out, and a member that is null in what we read counts as absent. Within these
limits the bytes are those of any RFC 8785 encoder.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

from app.ledger.errors import MalformedJson

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json]"

LARGEST_INTEGER = 2**53 - 1
"""The largest integer that a double holds exactly together with its neighbours."""
LARGEST_DEPTH = 32
"""Arrays and objects inside each other; deeper ones are an attack on the reader's stack."""

_quoted = json.JSONEncoder(ensure_ascii=False).encode


def encode(document: Json) -> bytes:
    r"""Write a document in its canonical form.

    Args:
        document: What is written; it is not changed.

    Returns:
        UTF-8 without white space, members sorted by the UTF-16 code units of their names.

    Raises:
        MalformedJson: It holds what canonical JSON here cannot say.

    >>> encode({"b": [True, 1], "a": "\u20ac"})
    b'{"a":"\xe2\x82\xac","b":[true,1]}'
    """
    try:
        return _written(document, LARGEST_DEPTH).encode()
    except UnicodeEncodeError as error:
        raise MalformedJson("a text holds half of a surrogate pair") from error


def parse(data: bytes) -> Json:
    """Read JSON in any layout, strictly: what two readers could read in two ways is refused.

    Args:
        data: One JSON text in UTF-8.

    Returns:
        The document, of dictionaries and lists.

    Raises:
        MalformedJson: Not JSON, not UTF-8, a name occurs twice in an object, or the text
            holds a float, a null in an array, a large integer or half of a surrogate pair.
    """
    try:
        document: Json = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_refused,
            parse_constant=_refused,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedJson("the text is not JSON in UTF-8") from error
    encode(document)
    return document


def decode(data: bytes) -> Json:
    """Read a document from its canonical form, and from no other.

    Args:
        data: What ``encode`` wrote.

    Returns:
        The document; ``encode`` makes the same bytes of it again.

    Raises:
        MalformedJson: The bytes are not the canonical form of a document.
    """
    document = parse(data)
    if encode(document) != data:
        raise MalformedJson("the text is not in its canonical form")
    return document


def to_base64(data: bytes) -> str:
    """Write bytes in standard base 64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """Read standard base 64 with padding, and no second spelling of the same bytes.

    Raises:
        ValueError: A character is foreign, padding is missing, or unused bits are set.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base 64") from error
    if to_base64(data) != text:
        raise ValueError("not the canonical base 64 of its bytes")
    return data


def is_decimal(text: str) -> bool:
    """Whether a text is a size or an index: ASCII digits, no leading zero, below 2^63."""
    return re.fullmatch(r"0|[1-9][0-9]{0,18}", text) is not None and int(text) < 2**63


def _written(value: object, depth: int) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise MalformedJson("an integer reaches 2^53")
        return str(int(value))
    if depth == 0:
        raise MalformedJson("the document is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise MalformedJson("the name of a member is not a text")
        members = sorted(
            value.items(), key=lambda item: item[0].encode("utf-16-be", "surrogatepass")
        )
        inner = (f"{_quoted(name)}:{_written(member, depth - 1)}" for name, member in members)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(item, depth - 1) for item in value) + "]"
    raise MalformedJson(f"a value is of a kind that is not written here: {type(value).__name__}")


def _object(members: list[tuple[str, Json | None]]) -> dict[str, Json]:
    found = dict(members)
    if len(found) != len(members):
        raise MalformedJson("a name occurs twice in one object")
    return {name: value for name, value in found.items() if value is not None}


def _integer(text: str) -> int:
    if len(text) > len(f"-{LARGEST_INTEGER}"):
        raise MalformedJson("an integer reaches 2^53")
    return int(text)


def _refused(text: str) -> NoReturn:
    raise MalformedJson(f"numbers are integers here; this is not one: {text[:20]}")
