"""Which strings and documents can be stored, and how a caller hears that one cannot.

PostgreSQL takes neither NUL in a text nor lone surrogates, and JSON knows no NaN; what a
client sends is held against that before it reaches the database.
"""

import math
from collections.abc import Mapping, Sequence

from app.domain.errors import FieldError, Refused

DEEPEST = 100
"""Levels of a JSON document; no declaration of ours needs nearly as many."""


def escape(name: object) -> str:
    """Write a name as one step of a JSON Pointer (RFC 6901, section 3)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def is_storable(text: str) -> bool:
    """Tell whether every database and file takes the text.

    >>> is_storable("a"), is_storable(chr(0)), is_storable(chr(0xD800))
    (True, False, False)
    """
    if "\0" in text:
        return False
    return text.isascii() or not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)


def is_plain(text: str, limit: int = 200) -> bool:
    """Tell whether a text could be one of our own ids, states or names."""
    return len(text) <= limit and text.isascii() and text.isprintable()


def text_faults(text: str, pointer: str, *, most: int, least: int = 1) -> list[FieldError]:
    """Return what is wrong with a text: its length in characters or a character in it."""
    if not least <= len(text) <= most:
        return [FieldError(pointer, "wrong-length", f"takes {least} to {most} characters")]
    if not is_storable(text):
        return [FieldError(pointer, "wrong-character", "holds NUL or half a character")]
    return []


def document_faults(value: object, pointer: str, depth: int = 0) -> list[FieldError]:
    """Return the parts of a decoded JSON value that cannot be stored."""
    faults: list[FieldError] = []
    if depth > DEEPEST:
        return [FieldError(pointer, "too-deep", f"takes at most {DEEPEST} levels")]
    if isinstance(value, str):
        faults += text_faults(value, pointer, most=1_000_000, least=0)
    elif isinstance(value, float) and not math.isfinite(value):
        faults.append(FieldError(pointer, "not-finite", "takes a finite number"))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            step = f"{pointer}/{escape(name)}"
            faults += text_faults(str(name), step, most=1000, least=0)
            faults += document_faults(part, step, depth + 1)
    elif isinstance(value, Sequence):
        for position, part in enumerate(value):
            faults += document_faults(part, f"{pointer}/{position}", depth + 1)
    return faults


def refuse_if(faults: Sequence[FieldError], code: str | None = None) -> None:
    """Refuse when there are any faults.

    Args:
        faults: What is wrong.
        code: Code of the refusal; by default that of the faults where they agree.

    Raises:
        Refused: With all of them.
    """
    if faults:
        shared = {fault.code for fault in faults}
        raise Refused(code=code or (shared.pop() if len(shared) == 1 else None), errors=faults)
