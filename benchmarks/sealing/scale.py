"""A log of a million entries: appended, sealed, proved from and derived again.

Entries come in transactions of ``EACH``; the supervisor's own sealer seals them. Proofs are
what the API's endpoints answer with, made of a log that is complete.
"""

import random
import time
from collections.abc import Callable
from statistics import median, quantiles

from sqlalchemy import select

from app.domain import audit, tree
from app.domain.actions import sealing
from app.domain.fsck import Fault, inspect
from app.domain.log import Leaf
from app.domain.queries import log
from app.infra.db import reading, writing
from benchmarks.sealing.apart import most_memory
from workers.supervision import Sealer

TENANT = "ten_benchmark"
EACH = 1000
"""Entries of a transaction."""
BETWEEN = 5000
"""Entries that wait when the sealer comes."""
PROOFS = 500
WARM = 20_000
"""Entries after which caches are full; memory may hardly grow any more."""


def measure(entries: int) -> dict[str, float]:
    """Append and seal, prove, derive again.

    Args:
        entries: How many.

    Returns:
        ``appended``, ``sealed`` and ``derived``: entries a second. ``inclusion_*`` and
        ``consistency_*``: milliseconds of a proof. ``hashes``: of the longest proof.
        ``growth``: MiB by which the process grew after the first ``WARM`` entries.
    """
    appended = sealed = 0.0
    warm = 0.0
    sealer = Sealer()
    for start in range(0, entries, BETWEEN):
        stop = min(entries, start + BETWEEN)
        appended += _seconds(lambda start=start, stop=stop: append(start, stop))  # type: ignore[misc]  # lambdas have no types
        sealed += _seconds(lambda: seal_all(sealer))
        if stop <= WARM:
            warm = most_memory()
    figures = {"appended": entries / appended, "sealed": entries / sealed, **_proofs(entries)}
    faults: list[Fault] = []
    with reading() as tx:
        derived = _seconds(lambda: inspect(tx, faults))
    return {
        **figures,
        "size": entries,
        "derived": entries / derived,
        "faults": len(faults),
        "growth": most_memory() - warm,
        "memory": most_memory(),
    }


def append(start: int, stop: int) -> None:
    """Append the entries with these numbers."""
    for first in range(start, stop, EACH):
        with writing() as tx:
            for number in range(first, min(stop, first + EACH)):
                audit.append(
                    tx,
                    tenant_id=TENANT,
                    type="thing.made",
                    actor=audit.SYSTEM,
                    entity_kind="thing",
                    entity_id=f"thing_{number}",
                    links=audit.Links(facts={"number": number}),
                )


def seal_all(sealer: Sealer) -> None:
    """Let the sealer work until nothing waits."""
    while True:
        with reading() as tx:
            if not sealing.is_behind(tx):
                return
        sealer.tick()


def _proofs(entries: int) -> dict[str, float]:
    """Make proofs about leaves and trees drawn evenly.

    Raises:
        RuntimeError: Entries are missing from the log.
    """
    generator = random.Random(0)
    longest = 0
    times: dict[str, list[float]] = {"inclusion": [], "consistency": []}
    with reading() as tx:
        if tree.size_of(tx) != entries:
            raise RuntimeError("not all entries are sealed")
        for _ in range(PROOFS):
            index = generator.randrange(entries)
            entry_id = tx.scalar(select(Leaf.entry_id).where(Leaf.index == index)) or ""
            started = time.perf_counter()
            proof = log.inclusion(tx, TENANT, entry_id, None)
            middle = time.perf_counter()
            log.consistency(tx, index + 1, None)
            times["inclusion"].append(1000 * (middle - started))
            times["consistency"].append(1000 * (time.perf_counter() - middle))
            longest = max(longest, len(proof.hashes))
            tx.expunge_all()
    figures: dict[str, float] = {"hashes": longest}
    for name, taken in times.items():
        figures[f"{name}_median"] = median(taken)
        figures[f"{name}_p99"] = quantiles(taken, n=100)[98]
        figures[f"{name}_slowest"] = max(taken)
    return figures


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started
