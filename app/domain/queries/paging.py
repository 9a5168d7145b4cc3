"""Pages of a list by key: no offsets, so that inserts do not shift what is read next."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.errors import FieldError, Refused
from app.domain.texts import is_plain

Row = TypeVar("Row")
DEFAULT_LIMIT = 50
MOST = 500


@dataclass(frozen=True)
class PageOrder:
    """How many items, and after which; the cursor comes from an earlier page."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    @property
    def after(self) -> str | None:
        """Id of the last item of the page before.

        Raises:
            Refused: The cursor is none of ours.
        """
        if self.cursor is None:
            return None
        try:
            key = base64.urlsafe_b64decode(self.cursor.encode("ascii")).decode("ascii")
        except (binascii.Error, ValueError):
            key = ""
        if not key or not is_plain(key, 40):
            fault = FieldError("/cursor", "invalid-cursor", "is not one the service gave out")
            raise Refused("The cursor is not valid", code="invalid-cursor", errors=[fault])
        return key


@dataclass(frozen=True)
class Slice(Generic[Row]):
    """One page; ``next_cursor`` is None on the last one."""

    items: Sequence[Row]
    next_cursor: str | None


def fetch(
    tx: Session,
    query: Select[Row],
    key: InstrumentedAttribute[str],
    page: PageOrder,
    *,
    newest_first: bool = True,
) -> Slice[Row]:
    """Read one page of a query.

    Args:
        tx: The transaction.
        query: Selects one entity, without an order.
        key: Its primary key; ids sort by creation.
        page: Which page.
        newest_first: Descending ids, or ascending.

    Returns:
        At most ``page.limit`` items.
    """
    after = page.after
    if after is not None:
        query = query.where(key < after if newest_first else key > after)
    limit = max(1, min(page.limit, MOST))
    ordered = query.order_by(key.desc() if newest_first else key).limit(limit + 1)
    items = list(tx.scalars(ordered))
    if len(items) <= limit:
        return Slice(items, None)
    last: Any = items[limit - 1]
    cursor = base64.urlsafe_b64encode(str(getattr(last, key.key)).encode()).decode()
    return Slice(items[:limit], cursor)
