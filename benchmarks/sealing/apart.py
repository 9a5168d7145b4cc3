"""A measurement in a process, a data folder and tables of its own.

``python -m benchmarks.sealing.apart <module> '<arguments>'`` is what runs there: the function
``measure`` of the module, on the database that ``LETHE_DATABASE_URL`` names or on SQLite.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from alembic import command

from app.infra.db import engine
from app.infra.migrate import alembic_config, upgrade_to_head
from app.infra.settings import settings


def apart(module: str, database: str = "", **arguments: object) -> dict[str, Any]:
    """Run ``benchmarks.sealing.<module>.measure`` and return what it returns.

    Args:
        module: Last part of its name.
        database: URL of an empty PostgreSQL database; SQLite in a temporary folder if empty.
        arguments: Of the function.

    Raises:
        CalledProcessError: The measurement failed.
    """
    with tempfile.TemporaryDirectory(prefix="lethe-sealing-") as folder:
        environment = {**os.environ, "LETHE_HOME": folder, "LETHE_DATABASE_URL": database}
        words = ["-m", "benchmarks.sealing.apart", module, json.dumps(arguments)]
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, *words], env=environment, stdout=subprocess.PIPE, check=True
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextmanager
def tables() -> Iterator[None]:
    """Make the tables; on a server drop them again in the end."""
    url = settings().database_url
    upgrade_to_head(url)
    try:
        yield
    finally:
        engine().dispose()
        if not url.startswith("sqlite"):
            command.downgrade(alembic_config(url), "base")


def most_memory() -> float:
    """Return the MiB this process has been resident with at most."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024


if __name__ == "__main__":
    _, name, given = sys.argv
    measure = import_module(f"benchmarks.sealing.{name}").measure
    with tables():
        print(json.dumps(measure(**json.loads(given))))
