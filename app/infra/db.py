"""The database: engine, sessions and column types for SQLite and PostgreSQL alike.

SQLite runs in WAL mode with ``synchronous=FULL`` and ``secure_delete=ON``. A writing session
begins with ``BEGIN IMMEDIATE``: a plain BEGIN that reads and then writes fails with "locked"
whatever the timeout is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Engine, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from app.infra.settings import settings

BUSY_TIMEOUT_SECONDS = 60
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

JsonDocument = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON column: JSONB on PostgreSQL, text on SQLite; None is SQL NULL."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite, which drops the zone, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time to UTC.

        Raises:
            ValueError: The time is naive.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive time has no place in the database")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give aware times back."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN is emitted below.
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def make_engine(url: str) -> Engine:
    """Make an engine with the settings above; the SQLite file's folder is created."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, pool_size=10)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the process's engine; made on first use, so never shared across a fork."""
    return make_engine(settings().database_url)


@contextmanager
def writing() -> Iterator[Session]:
    """Open one writing transaction; commit at the end, roll back on an exception."""
    maker = sessionmaker(engine().execution_options(writes=True), expire_on_commit=False)
    with maker.begin() as session:
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """Open one transaction that only reads; nothing is kept."""
    with sessionmaker(engine(), expire_on_commit=False)() as session:
        yield session


def truncate_log() -> bool:
    """Empty SQLite's write-ahead log so that erased bytes leave the disk.

    Returns:
        True when nothing of the log is left (always on PostgreSQL, which has no such file
        here), False when a reader was in the way; call again later.
    """
    if engine().dialect.name != "sqlite":
        return True
    raw: Any = engine().raw_connection()
    try:
        busy, _pages, _moved = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        raw.close()
    return not busy
