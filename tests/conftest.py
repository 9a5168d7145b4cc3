"""Fixtures that any test may ask for: real servers, and a database of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
from alembic import command
from psycopg import sql

from app.cli.migrate import alembic_config
from tests.servers import postgres_server, redis_server


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests away from the settings and the data folder of this machine's own service."""
    for name in [name for name in os.environ if name.startswith("LETHE_")]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="lethe-tests-")
    os.environ["LETHE_HOME"] = home
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


@pytest.fixture(scope="session")
def redis_address() -> Iterator[str]:
    """The URL of the session's Redis; tests ask for ``redis_url``."""
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_url(redis_address: str) -> str:
    """The URL of an empty Redis database."""
    with redis.Redis.from_url(redis_address) as client:
        client.flushdb()
    return redis_address


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The URL of a database that holds our newest schema and no rows; it is only copied."""
    with postgres_server() as server, database_like(server) as url:
        command.upgrade(
            alembic_config(url.replace("postgresql://", "postgresql+psycopg://")), "head"
        )
        yield url


@pytest.fixture
def postgres_url(postgres_template: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database with our newest schema."""
    with database_like(postgres_template) as url:
        yield url


@contextmanager
def database_like(origin: str) -> Iterator[str]:
    """Make a database, drop it in the end; it begins as a copy of the one that ``origin`` names."""
    parts = urlsplit(origin)
    name = f"test_{uuid4().hex}"
    server = parts._replace(path="/template1").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(parts.path.strip("/"))
            )
        )
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a CUDA device where there is none."""
    of_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if not of_gpu:
        return
    import torch

    if not torch.cuda.is_available():
        items[:] = [item for item in items if item not in of_gpu]
        config.hook.pytest_deselected(items=of_gpu)
