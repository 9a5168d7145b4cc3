"""The time, always aware and in UTC."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


def database_now(tx: Session) -> datetime:
    """Return the time all processes agree on: the database server's.

    SQLite has no server; all its users share this machine's clock.
    """
    if tx.get_bind().dialect.name == "postgresql":
        moment: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
        return moment.astimezone(UTC)
    return now()


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with ``Z`` and microseconds.

    >>> rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
