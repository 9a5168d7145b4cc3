"""A home and a migrated database for every test, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infra import db, keys, signing
from app.infra.migrate import upgrade_to_head
from app.infra.settings import settings
from tests import builders as make


def forget_settings() -> None:
    """Let everything that was made from the environment be made anew."""
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    for cached in (settings, db.engine, keys.derive, keys._process_secret, signing.keys._read_once):
        cached.cache_clear()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file without rows; it is only copied."""
    path = tmp_path_factory.mktemp("template") / "lethe.db"
    upgrade_to_head(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A data folder whose database is migrated and empty."""
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "lethe.db")
    else:
        monkeypatch.setenv("LETHE_DATABASE_URL", request.getfixturevalue("postgres_url"))
    forget_settings()
    yield tmp_path
    forget_settings()


@pytest.fixture
def sqlite_home(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The same on SQLite alone, where a test is about rules and not about the database."""
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    shutil.copy(sqlite_template, tmp_path / "lethe.db")
    forget_settings()
    yield tmp_path
    forget_settings()


@pytest.fixture
def postgres_home(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The same on PostgreSQL alone, where several transactions write at once."""
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("LETHE_DATABASE_URL", postgres_url)
    forget_settings()
    yield tmp_path
    forget_settings()


@pytest.fixture
def tenant(home: Path) -> str:
    return make.make_tenant()


@pytest.fixture
def dataset(tenant: str) -> str:
    return make.make_dataset(tenant)


@pytest.fixture
def model(tenant: str) -> str:
    return make.make_model(tenant)


@pytest.fixture
def version(tenant: str, model: str, dataset: str) -> str:
    return make.make_version(tenant, model, dataset)
