"""Processes that write and seal at once: no gap, no fork, one leaf for each entry."""

import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from app.domain.audit import AuditEntry
from app.domain.fsck import Fault, inspect
from app.domain.log import Leaf, SignedCheckpoint
from app.infra.db import reading
from tests.sealed import seal

WRITERS, SEALERS = 6, 2
WRITER = """
import random, sys, time
from sqlalchemy import func, select
from app.infra.db import reading, writing
from app.domain import audit
from app.domain.log import Leaf, SignedCheckpoint
generator = random.Random(int(sys.argv[1]))
left = int(sys.argv[2])

def is_signed(entry_id):
    with reading() as tx:
        index = tx.scalar(select(Leaf.index).where(Leaf.entry_id == entry_id))
        size = tx.scalar(select(func.max(SignedCheckpoint.size)))
    return index is not None and size is not None and index < size

pauses = [left // 3, 2 * left // 3]
while left:
    count = min(left, generator.randint(1, 9))
    with writing() as tx:
        for number in range(count):
            entry = audit.append(
                tx, tenant_id="ten_a", type="thing.made", actor=audit.SYSTEM,
                entity_kind="thing", entity_id=f"thing_{sys.argv[1]}_{left - number}")
            if generator.random() < 0.05:
                tx.flush()
                time.sleep(0.01)
    left -= count
    # So that all of it is not written before any of it is sealed, however slow the sealers are.
    if pauses and left <= pauses[-1]:
        pauses.pop()
        while not is_signed(entry.id):
            time.sleep(0.02)
"""
SEALER = """
import time
from pathlib import Path
from app.infra.settings import settings
from workers.supervision import Sealer
sealer = Sealer()
print("ready", flush=True)
while not (settings().home / "stop").exists():
    sealer.tick()
    time.sleep(0.01)
"""


def run(home: Path, each: int) -> None:
    """Let writers and sealers run together until all is written, then seal the rest."""
    sealers = [
        subprocess.Popen([sys.executable, "-c", SEALER], stdout=subprocess.PIPE)
        for _ in range(SEALERS)
    ]
    for sealer in sealers:
        assert sealer.stdout is not None
        assert sealer.stdout.readline() == b"ready\n"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number), str(each)])
        for number in range(WRITERS)
    ]
    try:
        assert [writer.wait(200) for writer in writers] == [0] * WRITERS
        time.sleep(0.2)
    finally:
        (home / "stop").touch()
        ended = [sealer.wait(60) for sealer in sealers]
        for sealer in sealers:
            assert sealer.stdout is not None
            sealer.stdout.close()
    assert ended == [0] * SEALERS


def check(count: int) -> None:
    assert seal() == count
    with reading() as tx:
        assert tx.scalar(select(func.count()).select_from(AuditEntry)) == count
        assert tx.scalar(select(func.count(Leaf.entry_id.distinct()))) == count
        assert tx.scalar(select(func.max(Leaf.index))) == count - 1
        assert (tx.scalar(select(func.count()).select_from(SignedCheckpoint)) or 0) > 2
        faults: list[Fault] = []
        inspect(tx, faults)
    assert faults == []


def test_eight_processes_on_postgresql(postgres_home: Path) -> None:
    run(postgres_home, each=250)
    check(WRITERS * 250)


def test_writers_and_sealers_on_sqlite(sqlite_home: Path) -> None:
    run(sqlite_home, each=60)
    check(WRITERS * 60)
