"""How Alembic reaches the database and writes a migration from the tables."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB

from app.domain.tables import metadata
from app.infra.db import UtcDateTime, make_engine
from app.infra.settings import settings

LOCK = 7_205_759_403_792
"""Any number: the advisory lock that lets one migration run at a time on PostgreSQL."""


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our column types without importing the application into a migration."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSONB):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB(none_as_null=True)"
    return False


def run() -> None:
    """Run what Alembic was asked for, in one transaction."""
    url = context.config.get_main_option("sqlalchemy.url") or settings().database_url
    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    engine = make_engine(url)
    with engine.execution_options(writes=True).connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            compare_type=True,
            compare_server_default=True,
            render_item=render_item,
        )
        with context.begin_transaction():
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            context.run_migrations()
    engine.dispose()


run()
