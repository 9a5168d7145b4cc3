"""The migrations make the tables of the code, there and back, on both databases."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import MetaData, Table, inspect, select

from app.domain.tables import metadata
from app.infra import clock
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


def row(table: Table, **values: object) -> dict[str, object]:
    """Return a row with something in every column that has to hold something."""
    something: dict[type, object] = {
        str: "x",
        int: 1,
        bytes: b"x",
        datetime: clock.now(),
        object: {},
        bool: True,
    }
    needed = [column for column in table.c if not column.nullable and column.name not in values]
    return values | {column.name: something[column.type.python_type] for column in needed}


def test_what_was_due_is_due_afterwards_and_old_keys_are_destroyed(url: str) -> None:
    address = url.replace("postgresql://", "postgresql+psycopg://")
    upgrade_to_head(address)
    command.downgrade(alembic_config(address), "0004")
    engine = make_engine(address)
    tables = MetaData()
    tables.reflect(engine)
    place = {"tenant_id": "ten_1", "dataset_id": "ds_1"}
    rows: dict[str, dict[str, object]] = {
        "datasets": {"id": "ds_1", "tenant_id": "ten_1"},
        "requests": {"id": "req_1", **place},
        "request_commitments": {"request_id": "req_1", "tenant_id": "ten_1", "root": bytes(32),
                                "size": 1, "sealed_key": b"an old box"},
        "certificates_due": {"request_id": "req_1", "tenant_id": "ten_1", "failure": "Odd"},
    }  # fmt: skip
    with engine.begin() as connection:
        for name, values in rows.items():
            table = tables.tables[name]
            connection.execute(table.insert().values(row(table, **values)))
    upgrade_to_head(address)
    with engine.connect() as connection:
        due = connection.execute(select(metadata.tables["certificates_due"])).mappings().one()
        assert dict(due) == {**rows["certificates_due"], "kind": "completed"}
        kept = connection.execute(select(metadata.tables["request_commitments"])).mappings().one()
        assert (kept["root"], kept["size"], kept["wrapped_key"]) == (bytes(32), 1, None)
    command.downgrade(alembic_config(address), "0004")
    with engine.connect() as connection:
        due = connection.execute(tables.tables["certificates_due"].select()).mappings().one()
        assert dict(due) == rows["certificates_due"]
    engine.dispose()
