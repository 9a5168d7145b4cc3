"""What readers take out of a long log: tiles, and a tenant's whole trail, as the routes do."""

import random
from collections.abc import Sequence
from statistics import median, quantiles
from time import perf_counter

from sqlalchemy.orm import Session

from app.api import streams
from app.api.routes.exports import PART
from app.domain.queries import exports, tiles
from app.domain.queries.exports import ExportedLeaf
from app.infra.db import reading
from app.ledger.tiles import WIDTH, Tile
from benchmarks.sealing.apart import most_memory
from benchmarks.sealing.scale import BETWEEN, TENANT, append, seal_all
from workers.supervision import Sealer

TILES = 500


def measure(entries: int) -> dict[str, float]:
    """Fill a log; read random full tiles of level 0, then export all of it.

    Args:
        entries: Leaves of the log, all of one tenant.

    Returns:
        ``tile_median`` and ``tile_p99``: milliseconds. ``exported``: leaves a second;
        ``megabytes``: of their bytes a second. ``growth``: MiB by which the process grew.
    """
    sealer = Sealer()
    for start in range(0, entries, BETWEEN):
        append(start, min(entries, start + BETWEEN))
        seal_all(sealer)
    generator = random.Random(20261121)
    times = []
    for _ in range(TILES):
        path = str(Tile(0, generator.randrange(entries // WIDTH)))
        started = perf_counter()
        with reading() as tx:
            tiles.tile(tx, path)
        times.append(1000 * (perf_counter() - started))

    def part(tx: Session, last: ExportedLeaf | None) -> Sequence[ExportedLeaf]:
        start = 0 if last is None else last.index + 1
        return exports.leaves(tx, TENANT, start, entries, PART)

    before, started, size, count = most_memory(), perf_counter(), 0, 0
    for item in streams.items(part):
        size += len(item.leaf)
        count += 1
    seconds = perf_counter() - started
    return {
        "tile_median": median(times),
        "tile_p99": quantiles(times, n=100)[-1],
        "leaves": count,
        "exported": count / seconds,
        "megabytes": size / seconds / 1e6,
        "growth": most_memory() - before,
    }
