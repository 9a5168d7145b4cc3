"""Long answers, sent as they are read: one part after the other, each in a transaction of its own.

No transaction stays open while a client is slow: on SQLite it would keep erased bytes from
leaving the write-ahead log, on PostgreSQL dead rows from being cleared away.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from sqlalchemy.orm import Session

from app.infra import db

T = TypeVar("T")
Part = Callable[[Session, T | None], Sequence[T]]
"""Returns the part that follows an item; the first part for None; nothing at the end."""


def items(part: Part[T]) -> Iterator[T]:
    """Yield the items of all parts.

    The first part is read at once: what is wrong with the database by then is still answered
    with a status.
    """
    with db.reading() as tx:
        first = part(tx, None)
    return chain(first, _following(part, first))


def _following(part: Part[T], last: Sequence[T]) -> Iterator[T]:
    while last:
        with db.reading() as tx:
            last = part(tx, last[-1])
        yield from last


def gathered(pieces: Iterator[bytes], size: int = 1 << 16) -> Iterator[bytes]:
    """Yield the same bytes in pieces of at least ``size``, the last one apart."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)
