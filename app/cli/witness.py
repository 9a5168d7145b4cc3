"""``lethe witness``: cosigns the checkpoints of other people's logs.

It reads none of the service's settings: it belongs on another machine, to somebody else.
"""

from collections.abc import Callable
from pathlib import Path

import uvicorn

from app.infra import durable, logging
from app.ledger.errors import MalformedPolicy
from app.ledger.policies import Policy
from app.witness.desk import LOGS, Desk
from app.witness.errors import WitnessError
from app.witness.keys import own_key
from app.witness.server import Server

__all__ = ["MalformedPolicy", "WitnessError", "key", "serve", "trust"]

MOST_AT_ONCE = 200
"""Connections; what comes on top is answered with 503."""


def serve(home: Path, name: str | None, host: str, port: int, say: Callable[[str], None]) -> None:
    """Run a witness until SIGINT or SIGTERM.

    Args:
        home: Its folder: key, logs and records.
        name: Of its key; it is chosen once, at the first start.
        host: Address to listen on.
        port: Port to listen on.
        say: Prints one line for the operator.
    """
    logging.configure("INFO")
    desk = Desk(home, own_key(home, name))
    say(f"witness {desk.witness.key}")
    say(f"cosigns {len(desk.logs())} keys of logs, listed in {home / LOGS}")
    say(f"listens on http://{host}:{port}")
    config = uvicorn.Config(
        Server(desk),
        host=host,
        port=port,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run()


def key(home: Path, name: str | None) -> str:
    """Return the public key of the witness in a folder, making it if there is none."""
    return str(own_key(home, name).key)


def trust(home: Path, vkey: str) -> None:
    """Let the witness cosign what this key of a log signs.

    Raises:
        MalformedPolicy: It is not the key of a log, or known already.
    """
    path = home / LOGS
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.read_bytes() if path.exists() else b"quorum none\n"
    content = before.rstrip(b"\n") + f"\nlog {vkey}\n".encode()
    if "\n" in vkey or not Policy.parse(content).logs:
        raise MalformedPolicy("one key of a log is expected")
    durable.replace(path, content)
