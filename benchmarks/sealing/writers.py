"""Processes that write and seal at once: no gap, no fork, one leaf for each change of state.

Things are rows that all writers change: each change takes the lock of its row and appends an
entry that says from which state to which. However transactions overlap, the leaves of a thing
have to tell its states in order.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import func, select, text

from app.domain import audit
from app.domain.actions import sealing
from app.domain.audit import AuditEntry
from app.domain.fsck import Fault, inspect
from app.domain.log import Leaf, SignedCheckpoint
from app.infra.db import reading, writing
from app.infra.settings import settings
from workers.supervision import Sealer

GO, STOP = "go", "stop"
"""Files in the data folder: all have started, all is written."""
THINGS = 24
MOST_CHANGES = 9
"""Of a transaction."""
PAUSE_SECONDS = 0.02
PATIENCE_SECONDS = 300.0


def measure(writers: int, sealers: int, entries: int) -> dict[str, float]:
    """Let processes write and seal, then read the whole log.

    Args:
        writers: How many processes write.
        sealers: How many seal.
        entries: How many entries all writers write together, each the same number.

    Returns:
        How many ``entries``, ``leaves`` and ``checkpoints`` there are; ``rate``: entries a
        second until all are signed; ``gaps``, ``forks`` and ``lost``, see ``wrong``.

    Raises:
        RuntimeError: A process failed.
    """
    each = entries // writers
    with things():
        seconds = _run(writers, sealers, each)
        with reading() as tx:
            signed = tx.scalar(select(func.count()).select_from(SignedCheckpoint)) or 0
            leaves = tx.scalar(select(func.count()).select_from(Leaf)) or 0
        return {
            "entries": each * writers,
            "leaves": leaves,
            "checkpoints": signed,
            "rate": each * writers / seconds,
            **wrong(each * writers),
        }


def wrong(entries: int) -> dict[str, float]:
    """Count what must not be.

    Args:
        entries: How many changes there were.

    Returns:
        ``gaps``: entries, leaves or indexes that are missing or too many. ``forks``: faults
        that the second reader of the log finds. ``lost``: changes that the leaves do not tell
        once and in order.
    """
    faults: list[Fault] = []
    states: dict[str, int] = {}
    lost = 0
    with reading() as tx:
        inspect(tx, faults)
        counts = (
            tx.scalar(select(func.count()).select_from(AuditEntry)),
            tx.scalar(select(func.count(Leaf.entry_id.distinct()))),
            (tx.scalar(select(func.max(Leaf.index))) or 0) + 1,
        )
        told = (
            select(AuditEntry.entity_id, AuditEntry.from_state, AuditEntry.to_state)
            .join(Leaf, Leaf.entry_id == AuditEntry.id)
            .order_by(Leaf.index)
        )
        for thing, before, after in tx.execute(told):
            state = states.get(thing, 0)
            lost += (before, after) != (str(state), str(state + 1))
            states[thing] = int(after or 0)
        for thing, state in tx.execute(text("SELECT id, state FROM things")):
            lost += abs(state - states.get(thing, 0))
    return {
        "gaps": sum(count != entries for count in counts),
        "forks": len(faults),
        "lost": lost,
    }


def write(seed: int, count: int) -> None:
    """Change things ``count`` times; what a writing process runs."""
    _when_told()
    generator = random.Random(seed)
    left = count
    pauses = [count // 3, 2 * count // 3]
    while left:
        size = min(left, generator.randint(1, MOST_CHANGES))
        # Sorted: whoever locks rows in one order never waits in a circle.
        drawn = sorted(generator.randrange(THINGS) for _ in range(size))
        with writing() as tx:
            for number in drawn:
                update = "UPDATE things SET state = state + 1 WHERE id = :id RETURNING state"
                state = tx.execute(text(update), {"id": f"thing_{number}"}).scalar_one()
                entry = audit.append(
                    tx,
                    tenant_id="ten_benchmark",
                    type="thing.changed",
                    actor=audit.SYSTEM,
                    entity_kind="thing",
                    entity_id=f"thing_{number}",
                    from_state=str(state - 1),
                    to_state=str(state),
                )
                if generator.random() < 0.02:
                    tx.flush()
                    time.sleep(PAUSE_SECONDS)
        left -= size
        # Else all might be written before any is sealed.
        if pauses and left <= pauses[-1]:
            pauses.pop()
            _wait_until_signed(entry.id)


def seal() -> None:
    """Seal until all has been written; what a sealing process runs."""
    sealer = Sealer()
    _when_told()
    while not (settings().home / STOP).exists() or _is_behind():
        sealer.tick()
        time.sleep(PAUSE_SECONDS / 2)


@contextmanager
def things() -> Iterator[None]:
    """Make a table of things in state 0, and drop it in the end."""
    with writing() as tx:
        tx.execute(text("CREATE TABLE things (id VARCHAR(40) PRIMARY KEY, state INTEGER)"))
        rows = [{"id": f"thing_{number}"} for number in range(THINGS)]
        tx.execute(text("INSERT INTO things VALUES (:id, 0)"), rows)
    try:
        yield
    finally:
        with writing() as tx:
            tx.execute(text("DROP TABLE things"))


def _run(writers: int, sealers: int, each: int) -> float:
    """Let all begin at once; return the seconds until everything is written and signed.

    Raises:
        RuntimeError: A process failed.
    """
    home = settings().home
    with ExitStack() as stack:
        running = [
            stack.enter_context(_start(call))
            for call in (
                *(f"write({number}, {each})" for number in range(writers)),
                *["seal()"] * sealers,
            )
        ]
        # Whatever happens: nobody waits for ever.
        stack.callback((home / STOP).touch)
        stack.callback((home / GO).touch)
        while len(list(home.glob("ready-*"))) < len(running):
            if any(process.poll() for process in running):
                break
            time.sleep(PAUSE_SECONDS)
        (home / GO).touch()
        started = time.perf_counter()
        codes = [process.wait(PATIENCE_SECONDS) for process in running[:writers]]
        (home / STOP).touch()
        codes += [process.wait(PATIENCE_SECONDS) for process in running[writers:]]
    if any(codes):
        raise RuntimeError(f"processes ended with {codes}")
    return time.perf_counter() - started


def _start(call: str) -> "subprocess.Popen[bytes]":
    program = f"from benchmarks.sealing.writers import seal, write; {call}"
    return subprocess.Popen([sys.executable, "-c", program])  # noqa: S603 - our own program


def _when_told() -> None:
    """Say that this process has started, and wait until all have."""
    home = settings().home
    (home / f"ready-{os.getpid()}").touch()
    while not (home / GO).exists():
        time.sleep(PAUSE_SECONDS / 10)


def _is_behind() -> bool:
    with reading() as tx:
        return sealing.is_behind(tx)


def _wait_until_signed(entry_id: str) -> None:
    """Wait until an entry stands in the signed log.

    Raises:
        TimeoutError: Nobody seals it.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with reading() as tx:
            index = tx.scalar(select(Leaf.index).where(Leaf.entry_id == entry_id))
            size = tx.scalar(select(func.max(SignedCheckpoint.size)))
        if index is not None and size is not None and index < size:
            return
        time.sleep(PAUSE_SECONDS)
    raise TimeoutError("an entry is not sealed")
