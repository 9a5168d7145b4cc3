"""Requests taken in while witnesses are asked: one that works, one that hangs, one that is down."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from app.cli.witness import trust
from app.domain.log import Cosignature, SignedCheckpoint
from app.infra.db import reading
from app.infra.settings import settings
from app.infra.signing import keyring
from app.witness.keys import own_key
from benchmarks.sealing import intake

PORT = 8093
SILENT, DOWN = 8094, 8095
SUPERVISION = "from workers.supervision import main; main()"


def measure(requests: int, *, with_witnesses: bool) -> dict[str, float]:
    """Take requests in; return how many a second, and what was cosigned.

    Args:
        requests: How many, each in a transaction of its own.
        with_witnesses: Whether there are any to ask.

    Returns:
        ``rate``: requests a second. ``checkpoints`` and ``cosigned``: how many were signed, and
        how many of these cosigned by the witness that works.
    """
    intake.SEALER = SUPERVISION
    if not with_witnesses:
        return intake.measure(requests, with_log=True)
    with _witness() as key, socket.create_server(("127.0.0.1", SILENT)):
        parties = {key: PORT, _unknown("silent"): SILENT, _unknown("down"): DOWN}
        lines = [f"witness w{at} {key} http://127.0.0.1:{at}" for key, at in parties.items()]
        (settings().home / "witnesses.txt").write_text("\n".join([*lines, "quorum none"]))
        found = intake.measure(requests, with_log=True)
    with reading() as tx:
        return {
            **found,
            "checkpoints": tx.scalar(select(func.count()).select_from(SignedCheckpoint)) or 0,
            "cosigned": tx.scalar(select(func.count()).select_from(Cosignature)) or 0,
        }


def _unknown(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return str(own_key(Path(folder), f"{name}.example").key)


@contextmanager
def _witness() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lethe-witness-") as folder:
        key = str(own_key(Path(folder)).key)
        trust(Path(folder), str(keyring().keys[0].trusted.key))
        command = [sys.executable, "-m", "app.cli.main", "witness", "--port", str(PORT)]
        with subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--home", folder], env=os.environ, stdout=subprocess.DEVNULL
        ) as process:
            time.sleep(2.0)
            try:
                yield key
            finally:
                process.terminate()
