"""The migrations make the tables of the code, there and back, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect

from app.domain.tables import metadata
from app.infra.db import make_engine
from app.infra.migrate import alembic_config, upgrade_to_head


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fresh.db'}"
    else:
        yield request.getfixturevalue("postgres_url")


def tables(url: str) -> set[str]:
    engine = make_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def test_up_down_and_up_again_ends_in_the_tables_of_the_code(url: str) -> None:
    upgrade_to_head(url)
    command.check(alembic_config(url))
    assert tables(url) == set(metadata.tables) | {"alembic_version"}
    command.downgrade(alembic_config(url), "base")
    assert tables(url) == {"alembic_version"}
    upgrade_to_head(url)
    upgrade_to_head(url)
    assert tables(url) == set(metadata.tables) | {"alembic_version"}


def test_every_table_names_its_tenant_but_for_the_hashes_of_the_one_log() -> None:
    nameless = [name for name, table in metadata.tables.items() if "tenant_id" not in table.c]
    assert sorted(nameless) == ["log_checkpoints", "log_cosignatures", "log_nodes"]
