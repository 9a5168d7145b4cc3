"""Whoever waits to write to SQLite gets a turn, however fast somebody else writes again."""

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from app.domain.log import SignedCheckpoint
from app.infra import db
from app.infra.db import reading, writing
from app.infra.migrate import upgrade_to_head
from tests.domain.conftest import forget_settings
from workers.supervision import Sealer

GREEDY = """
import sys, time
from sqlalchemy import text
from tests.sealed import append
from app.infra.db import writing
append(1)
print("began", flush=True)
while True:
    append(1)
    with writing() as tx:
        tx.execute(text("SELECT 1"))
        time.sleep(0.02)
"""
"""Has the lock nearly always, and takes it again at once."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    forget_settings()
    upgrade_to_head(f"sqlite:///{tmp_path / 'lethe.db'}")
    yield tmp_path
    forget_settings()


@contextmanager
def greedy() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", GREEDY], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_the_log_is_signed_while_another_process_never_stops_writing(home: Path) -> None:
    sealer = Sealer()
    with greedy():
        started = time.monotonic()
        for _ in range(3):
            sealer.tick()
        seconds = time.monotonic() - started
    with reading() as tx:
        signed = len(tx.scalars(select(SignedCheckpoint.size)).all())
    assert signed == 3
    # Two turns a tick, each behind a writer of some 20 ms; without turns it is minutes.
    assert seconds < 20


def test_who_waits_too_long_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_SECONDS", 0.2)
    with writing() as first:
        first.execute(text("SELECT 1"))
        started = time.monotonic()
        with pytest.raises(OperationalError, match="locked"), writing() as second:
            second.execute(text("SELECT 1"))
        assert 0.2 <= time.monotonic() - started < 2
    with writing() as tx:
        assert tx.scalar(text("PRAGMA busy_timeout")) == 200


def test_a_turn_that_is_never_given_back_stops_nobody(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "BUSY_TIMEOUT_SECONDS", 0.2)
    with (home / "lethe.db-turn").open("w") as taken, writing() as tx:
        fcntl.flock(taken, fcntl.LOCK_EX)
        assert tx.scalar(text("SELECT 1")) == 1
