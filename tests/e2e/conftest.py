"""One running service for each module of tests, on each pair of database and broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import database_like
from tests.e2e.controller import Controller
from tests.e2e.service import Service, running_service

BACKENDS = ("embedded", "servers")


@pytest.fixture(scope="module", params=BACKENDS)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The service on SQLite and files, then on PostgreSQL and Redis."""
    home = tmp_path_factory.mktemp("service") / "home"
    if request.param == "embedded":
        with running_service(home) as running:
            yield running
        return
    redis_address = request.getfixturevalue("redis_address")
    template = request.getfixturevalue("postgres_template")
    with database_like(template) as database:
        environment = {"LETHE_DATABASE_URL": database, "LETHE_BROKER_URL": redis_address}
        with running_service(home, environment) as running:
            yield running


@pytest.fixture
def controller(service: Service) -> Iterator[Controller]:
    """A client of the service."""
    with Controller(service) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test keeps what it uploads and downloads: outside the service's own folder."""
    return tmp_path
