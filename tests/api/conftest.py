"""A real server on loopback, in a process of its own, over an empty temporary home."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from alembic import command
from sqlalchemy.orm import Session

from app.api import transactions, uploads
from app.client import Lethe
from app.infra import db, keys, signing
from app.infra.migrate import alembic_config
from app.infra.settings import settings
from tests.conftest import database_like
from tests.servers import free_port

START_SECONDS = 60
ADMIN_KEY = "lethe_test_bootstrap_key_0123456789abcdef"
MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True)
class Service:
    """A running API."""

    address: str
    home: Path
    process: psutil.Process
    log: Path

    def client(self, key: str | None = ADMIN_KEY) -> Lethe:
        """Return a client with a key; the bootstrap key if none is named."""
        return Lethe(self.address, key)

    def http(self, key: str | None = ADMIN_KEY) -> httpx.Client:
        """Return a bare HTTP client, for what our client would never send."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.address, headers=headers, timeout=60, trust_env=False)

    def key(self, *scopes: str, tenant_id: str | None = None) -> str:
        """Make a key with these scopes, in the bootstrap tenant unless another is named."""
        with self.client() as client:
            made = client.create_api_key("test", scopes or ("admin",), tenant_id=tenant_id)
            return str(made["key"])

    def tenant(self) -> tuple[str, str]:
        """Make a tenant; return its id and an admin key."""
        with self.client() as client:
            tenant_id = str(client.create_tenant("another")["id"])
        return tenant_id, self.key(tenant_id=tenant_id)

    def memory(self) -> dict[str, int]:
        """Return the kB that Linux counts for the process, by name (RssAnon, VmRSS, ...)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: int(kb) for name, kb in re.findall(r"(\w+):\s+(\d+) kB", status)}

    def write(self, act: Callable[[Session], Any]) -> Any:
        """Do something in the service's database, as a worker would."""
        with db.writing() as tx:
            return act(tx)


def forget_settings() -> None:
    """Let everything that was made from the environment be made anew."""
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    for cached in (
        settings,
        db.engine,
        keys.derive,
        keys._process_secret,
        signing.keys._read_once,
        uploads.store,
        transactions._turns,
    ):
        cached.cache_clear()


@contextmanager
def running(home: Path, **more: str) -> Iterator[Service]:
    """Run the API over a home; this process shares its settings meanwhile."""
    variables = {
        "LETHE_HOME": str(home),
        "LETHE_BOOTSTRAP_KEY": ADMIN_KEY,
        "LETHE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        **more,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        forget_settings()
        try:
            command.upgrade(alembic_config(settings().database_url), "head")
            yield from _serve(home, variables)
        finally:
            forget_settings()


def _serve(home: Path, variables: dict[str, str]) -> Iterator[Service]:
    port, log = str(free_port()), home / "api.log"
    options = ["--factory", "--host", "127.0.0.1", "--port", port]
    options += ["--log-level", "warning", "--no-access-log"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app.api.main:create_app", *options],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            service = Service(f"http://127.0.0.1:{port}", home, psutil.Process(process.pid), log)
            _wait_until_ready(service, process)
            yield service
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    with service.http(None) as http:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise RuntimeError(service.log.read_text()[-2000:])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the files that say so in ``DATABASES`` over each of them; the others over SQLite."""
    if "database" in metafunc.fixturenames:
        databases = getattr(metafunc.module, "DATABASES", ("sqlite",))
        metafunc.parametrize("database", databases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The variables that choose the database of a file's service."""
    if request.param == "sqlite":
        yield {}
        return
    with database_like(request.getfixturevalue("postgres_template")) as url:
        yield {"LETHE_DATABASE_URL": url}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, database: dict[str, str]
) -> Iterator[Service]:
    """A service for the tests of one file."""
    with running(tmp_path_factory.mktemp("home"), **database) as started:
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Lethe]:
    """A client with the bootstrap key."""
    with service.client() as opened:
        yield opened


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    """A bare HTTP client with the bootstrap key."""
    with service.http() as opened:
        yield opened
