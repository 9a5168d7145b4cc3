"""``lethe up``: the whole service as three children of one supervisor.

The database is migrated first. The API, a worker and the sweeper are then kept running until
SIGINT or SIGTERM; nothing they started outlives the supervisor.
"""

import os
import secrets
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from types import FrameType

from app.cli.children import Child
from app.cli.migrate import migrate
from app.cli.processes import api_command, sweeper_command, worker_command
from app.infra.settings import Settings

STOP_SECONDS = 10.0
"""How long a running job may take to finish on its own; killed, it is taken up again later."""
TICK_SECONDS = 0.2


class PortTaken(Exception):
    """Another program listens on the address of the service."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port} is in use; choose another with --port or LETHE_PORT")


def bootstrap_key(config: Settings) -> str:
    """Return the admin key of the first start: the operator's, or one made here and kept.

    The kept one lies in ``bootstrap.key`` below the data folder, readable by its owner only.
    """
    if config.bootstrap_key is not None:
        return config.bootstrap_key.get_secret_value()
    path = config.home / "bootstrap.key"
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    key = f"lethe_{secrets.token_urlsafe(32)}"
    with os.fdopen(handle, "w") as file:
        file.write(key)
    return key


def child_environment(config: Settings, key: str) -> dict[str, str]:
    """Return the environment of the children: ours, with what was decided here made explicit."""
    return {
        **os.environ,
        "LETHE_HOME": str(config.home),
        "LETHE_HOST": config.host,
        "LETHE_PORT": str(config.port),
        "LETHE_BOOTSTRAP_KEY": key,
        # One pool of threads for each worker, of the size the settings say.
        "OMP_NUM_THREADS": str(config.threads),
    }


def service(config: Settings, report: Callable[[str], None]) -> list[Child]:
    """Return the children of the embedded service, not yet started.

    Raises:
        PortTaken: Something else listens on the address already.
    """
    _require_free_port(config)
    environment = child_environment(config, bootstrap_key(config))
    commands = {
        "api": api_command(config),
        "worker": worker_command(),
        "sweeper": sweeper_command(),
    }
    return [Child(name, argv, environment, report) for name, argv in commands.items()]


def run(config: Settings, say: Callable[[str], None]) -> None:
    """Run the service until SIGINT or SIGTERM.

    Args:
        config: The settings; ``host``, ``port`` and ``home`` are handed to the children.
        say: Prints one line for the operator.
    """
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    migrate()
    children = service(config, say)
    try:
        for child in children:
            child.start()
        _watch(children, config, stop, say)
    finally:
        say("stopping")
        stop_all(children)


def stop_all(children: list[Child]) -> None:
    """End all children: first asked, then killed."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + STOP_SECONDS
    for child in children:
        child.end(deadline)


def _watch(
    children: list[Child],
    config: Settings,
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    is_announced = False
    while not stop.wait(TICK_SECONDS):
        for child in children:
            child.tend()
        if not is_announced and _answers(config):
            is_announced = True
            say(f"Lethe listens on http://{config.host}:{config.port}")
            say(f"data folder: {config.home}")
            say(f"key: {bootstrap_key(config)}")


def _answers(config: Settings) -> bool:
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{host}:{config.port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _require_free_port(config: Settings) -> None:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise PortTaken(config.host, config.port) from error
