"""What the log costs, how far it grows, and whether many processes can tear it.

    python -m benchmarks.sealing intake  [--requests 200] [--rounds 3]
    python -m benchmarks.sealing scale   [--entries 1000000]
    python -m benchmarks.sealing tall    [--leaves 10000000]
    python -m benchmarks.sealing writers [--entries 10000] [--writers 8] [--sealers 2]
    python -m benchmarks.sealing service [--entries 10000]
    python -m benchmarks.sealing witnessed [--requests 200] [--rounds 3]
    python -m benchmarks.sealing exports [--entries 100000]

Databases are SQLite in a temporary folder, or the empty one that ``--database`` names (the
tables are made, and dropped again). Exits with 1 when a bar does not hold.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.sealing import service
from benchmarks.sealing.apart import apart

Options = argparse.Namespace
LEAST_SHARE = 0.9
MOST_PROOF_MS = 5.0
MOST_HASHES = 24
MOST_GROWTH = 64.0


def intake(options: Options) -> bool:
    """Rounds alternate, and the best of each kind counts: the machine only slows down."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.rounds):
        for with_log, rates in found.items():
            answer = apart("intake", options.database, requests=options.requests, with_log=with_log)
            rates.append(answer["rate"])
    without, sealed = max(found[False]), max(found[True])
    print(f"requests a second without the log: {without:.1f} (best of {options.rounds})")
    print(f"requests a second with the log:    {sealed:.1f}")
    print(f"share: {sealed / without:.2f} (at least {LEAST_SHARE})")
    return sealed / without >= LEAST_SHARE


def scale(options: Options) -> bool:
    """Many entries on one database."""
    found = apart("scale", options.database, entries=options.entries)
    print(
        f"{found['size']} entries: {found['appended']:.0f} appended a second,"
        f" {found['sealed']:.0f} sealed, {found['derived']:.0f} derived again"
        f" ({found['faults']} faults)"
    )
    for name in ("inclusion", "consistency"):
        median, p99, slowest = (found[f"{name}_{kind}"] for kind in ("median", "p99", "slowest"))
        print(f"proof of {name}: {median:.2f} ms, 99 % below {p99:.2f} ms, slowest {slowest:.2f}")
    print(f"{found['hashes']} hashes at most; {found['memory']:.0f} MiB, grown", end=" ")
    print(f"by {found['growth']:.0f} MiB (at most {MOST_GROWTH:.0f})")
    is_quick = max(found["inclusion_median"], found["consistency_median"]) < MOST_PROOF_MS
    return bool(is_quick and not found["faults"] and found["growth"] <= MOST_GROWTH)


def tall(options: Options) -> bool:
    """A tree of very many leaves."""
    found = apart("tall", leaves=options.leaves)
    print(
        f"{found['leaves']} leaves: {found['inclusion']} hashes prove a leaf,"
        f" {found['consistency']} an older tree; {found['hashed']:.0f} leaves a second;"
        f" grown by {found['growth']:.0f} MiB"
    )
    return bool(found["inclusion"] <= MOST_HASHES and found["growth"] <= MOST_GROWTH)


def writers(options: Options) -> bool:
    """Many processes on one database."""
    found = apart(
        "writers",
        options.database,
        writers=options.writers,
        sealers=options.sealers,
        entries=options.entries,
    )
    return _whole(found)


def whole_service(options: Options) -> bool:
    """API, worker and sealer on SQLite."""
    return _whole(service.measure(options.entries))


def witnessed(options: Options) -> bool:
    """Witnesses are asked meanwhile, two of which do not answer."""
    best: dict[bool, dict[str, float]] = {}
    for _ in range(options.rounds):
        for asked in (False, True):
            found = apart(
                "witnessed", options.database, requests=options.requests, with_witnesses=asked
            )
            best[asked] = max(best.get(asked, found), found, key=lambda one: one["rate"])
    without, asking = best[False]["rate"], best[True]["rate"]
    print(f"requests a second without witnesses: {without:.1f} (best of {options.rounds})")
    print(f"requests a second with witnesses:    {asking:.1f}")
    print(f"{best[True]['cosigned']} of {best[True]['checkpoints']} checkpoints cosigned")
    print(f"share: {asking / without:.2f} (at least {LEAST_SHARE})")
    return asking / without >= LEAST_SHARE


def exports(options: Options) -> bool:
    """Tiles and a whole trail out of a long log."""
    found = apart("exports", options.database, entries=options.entries)
    print(f"a full tile: {found['tile_median']:.2f} ms, 99 % below {found['tile_p99']:.2f} ms")
    print(f"{found['leaves']} leaves exported, {found['exported']:.0f} a second,", end=" ")
    print(f"{found['megabytes']:.1f} MB a second; grown by {found['growth']:.0f} MiB")
    return bool(found["growth"] <= MOST_GROWTH)


def _whole(found: Mapping[str, Any]) -> bool:
    print(
        f"{found['entries']} entries, {found['rate']:.0f} a second, {found['checkpoints']}"
        f" checkpoints; {found['gaps']} gaps, {found['forks']} forks, {found['lost']} changes lost"
    )
    return not (found["gaps"] or found["forks"] or found["lost"])


PARTS: dict[str, Callable[[Options], bool]] = {
    "intake": intake,
    "scale": scale,
    "tall": tall,
    "writers": writers,
    "service": whole_service,
    "witnessed": witnessed,
    "exports": exports,
}


def main() -> None:
    """Run one part and print what it found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sealing")
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int)
    parser.add_argument("--leaves", type=int, default=10_000_000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--sealers", type=int, default=2)
    options = parser.parse_args()
    if options.entries is None:
        options.entries = {"scale": 1_000_000, "exports": 100_000}.get(options.part, 10_000)
    sys.exit(not PARTS[options.part](options))


if __name__ == "__main__":
    main()
