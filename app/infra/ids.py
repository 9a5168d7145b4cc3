"""Opaque, prefixed identifiers that sort by creation.

The body is 48 bits of milliseconds and 80 random bits in Crockford's base 32. Within one
process ids made in the same millisecond still rise: the random part counts up.
"""

import secrets
import threading
import time
from datetime import UTC, datetime

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PREFIXES = (
    "ten", "key", "ds", "mdl", "mv", "req", "tgt", "job", "evt", "rep", "dl", "rev", "cert", "tkey",
)  # fmt: skip

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Make a fresh id such as ``req_01k9...``.

    Raises:
        ValueError: The prefix is not one of ``PREFIXES``.
    """
    global _last  # noqa: PLW0603 - one counter for the process
    if prefix not in PREFIXES:
        raise ValueError(f"unknown id prefix {prefix!r}")
    with _lock:
        fresh = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
        _last = fresh if fresh >> 80 > _last >> 80 else _last + 1 + secrets.randbits(16)
        number = _last
    digits = [ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def made_at(id: str) -> datetime:
    """Return when an id was made, to the millisecond.

    Raises:
        ValueError: It is none of ours.
    """
    prefix, _, body = id.partition("_")
    if prefix not in PREFIXES or len(body) != 26 or set(body) - set(ALPHABET):
        raise ValueError("not an id")
    number = 0
    for digit in body:
        number = number << 5 | ALPHABET.index(digit)
    return datetime.fromtimestamp((number >> 80) / 1000, UTC)
