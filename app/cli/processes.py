"""The processes of the service and the commands that start them, here and in containers."""

import sys

from app.infra.settings import Settings


def api_command(config: Settings) -> list[str]:
    """Return the command of the HTTP API."""
    return [
        *(sys.executable, "-m", "uvicorn", "app.api.main:create_app", "--factory"),
        *("--host", config.host, "--port", str(config.port)),
        *("--log-level", "warning", "--no-access-log", "--no-server-header"),
        *("--timeout-graceful-shutdown", "5"),
    ]


def worker_command(name: str = "worker") -> list[str]:
    """Return the command of a worker; ``name`` tells workers of one machine apart."""
    return [
        *(sys.executable, "-m", "celery", "-q", "-A", "workers.main", "worker"),
        *("-P", "prefork", "-c", "1", "-n", f"{name}@%h", "-l", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


def sweeper_command() -> list[str]:
    """Return the command of the dispatcher and sweeper."""
    return [sys.executable, "-m", "workers.supervision"]
