"""JSON bodies, read strictly: what cannot be stored or written back is refused at the door.

Beyond RFC 8259 a body may not hold NaN or infinities (also not as ``1e999``), integers beyond
64 bits, NUL characters, lone surrogates, or more than 64 levels. None of these survives every
database and every JSON reader, and each has once been a way to make a service fail.
"""

import json
import math
import re
from typing import Any

MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)
SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class BadJson(ValueError):
    """The body is not JSON that this service reads; the message carries none of it."""


def read(body: bytes) -> Any:
    """Parse one document.

    >>> read(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> read(b'[1e999]')
    Traceback (most recent call last):
        ...
    app.api.strict_json.BadJson: a number is too large

    Returns:
        The document: dicts, lists, strings, ints, floats, booleans and None.

    Raises:
        BadJson: It is not UTF-8, not JSON, or holds something named above.
    """
    try:
        text = body.decode()
        document = json.loads(
            text, parse_int=_integer, parse_float=_number, parse_constant=_constant
        )
    except UnicodeDecodeError:
        raise BadJson("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadJson(f"the body is not JSON (line {error.lineno})") from None
    except RecursionError:
        raise BadJson("the body is nested too deeply") from None
    holds_suspicious_text = SUSPICIOUS.search(body) is not None
    if holds_suspicious_text or body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check(document, texts=holds_suspicious_text)
    return document


def _integer(digits: str) -> int:
    if len(digits) > 20 or not MIN_INTEGER <= (value := int(digits)) <= MAX_INTEGER:
        raise BadJson("an integer is beyond 64 bits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJson("a number is too large")
    return value


def _constant(name: str) -> float:
    raise BadJson("NaN and infinities are not JSON")


def _check(document: Any, *, texts: bool) -> None:
    """Walk without recursion; ``texts`` also looks into strings and keys.

    Raises:
        BadJson: It is nested too deeply, or a text is not one.
    """
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise BadJson("the body is nested too deeply")
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below.extend(item.values())
                if texts:
                    below.extend(item)
            elif kind is list:
                below.extend(item)
            elif texts and kind is str:
                _check_text(item)
        level = below


def _check_text(text: str) -> None:
    if "\0" in text:
        raise BadJson("a string holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadJson("a string holds half of a surrogate pair") from None
