"""What the log costs: requests taken in with and without it, entries sealed, proofs made.

``python -m benchmarks.sealing [--requests 200] [--rounds 3] [--entries 20000]``

Requests are taken in by one process on SQLite, or on the empty database that ``--database``
names (the tables are made, and dropped again, in each round). Without the log means: its
trigger is gone and nobody seals. With it: the trigger is there, and a process of its own seals
while requests come in. Rounds alternate, and the best of each kind is taken: everything else on
the machine only slows down.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from alembic import command
from sqlalchemy import select, text

from app.domain import audit, tree
from app.domain.actions import access, datasets, importing, intake, running, sealing
from app.domain.audit import SYSTEM
from app.domain.jobs import Job
from app.domain.orders import DatasetOrder, DeletionOrder
from app.infra.db import engine, reading, writing
from app.infra.migrate import alembic_config, upgrade_to_head
from app.infra.rows import Cells, ColumnSpec, PackedStrings, RowBatch, RowWriter
from app.infra.settings import settings
from app.ledger.merkle import prove_inclusion

ROWS = 10_000
PROOFS = 500
APPENDED = 1000
WITHOUT_LOG = {
    "sqlite": "DROP TRIGGER audit_entries_unsealed",
    "postgresql": "ALTER TABLE audit_entries DISABLE TRIGGER audit_entries_unsealed",
}
SEALER = """
import time
from workers.supervision import Sealer
sealer = Sealer()
while True:
    sealer.tick()
    time.sleep(1.0)
"""


def main() -> None:
    """Run the rounds in processes of their own and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database")
    parser.add_argument("--round", choices=["with", "without", "scale"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.round is not None:
        print(json.dumps(_round(options)))
        return
    found: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(options.rounds):
        for kind, rates in found.items():
            rates.append(_apart(kind, sys.argv[1:], options.database)["rate"])
    best = {kind: max(rates) for kind, rates in found.items()}
    print(f"requests a second without the log: {best['without']:.1f} (best of {options.rounds})")
    print(f"requests a second with the log:    {best['with']:.1f}")
    print(f"share: {best['with'] / best['without']:.2f} (at least 0.9)")
    scale = _apart("scale", sys.argv[1:], options.database)
    print(
        f"{scale['size']} entries: {scale['rate']:.0f} sealed a second; a proof takes"
        f" {scale['proof_ms']:.2f} ms (median), {scale['slowest_ms']:.2f} ms (slowest), and has"
        f" {scale['hashes']} hashes at most; {scale['mib']:.0f} MiB of memory"
    )


def _apart(kind: str, arguments: Sequence[str], database: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="lethe-sealing-") as folder:
        environment = {**os.environ, "LETHE_HOME": folder, "LETHE_DATABASE_URL": database}
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "benchmarks.sealing", *arguments, "--round", kind],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _round(options: argparse.Namespace) -> dict[str, float]:
    url = settings().database_url
    upgrade_to_head(url)
    try:
        if options.round == "scale":
            return _scale(options.entries)
        return _intake(options.requests, with_log=options.round == "with")
    finally:
        engine().dispose()
        if not url.startswith("sqlite"):
            command.downgrade(alembic_config(url), "base")


def _intake(requests: int, *, with_log: bool) -> dict[str, float]:
    with writing() as tx:
        tenant_id = access.create_tenant(tx, SYSTEM, "benchmark").id
    dataset_id = _dataset(tenant_id)
    sealer = None
    if with_log:
        sealer = subprocess.Popen([sys.executable, "-c", SEALER])  # noqa: S603 - our own program
        while _is_behind():
            time.sleep(0.1)
    else:
        with writing() as tx:
            tx.execute(text(WITHOUT_LOG[engine().dialect.name]))
    try:
        started = time.perf_counter()
        for number in range(requests):
            with writing() as tx:
                order = DeletionOrder(dataset_id, sample_ids=(f"row-{number}", f"row-{-number}"))
                intake.submit_deletion(tx, SYSTEM, tenant_id, order)
        return {"rate": requests / (time.perf_counter() - started)}
    finally:
        if sealer is not None:
            sealer.terminate()
            sealer.wait()


def _is_behind() -> bool:
    with reading() as tx:
        return sealing.is_behind(tx)


def _dataset(tenant_id: str) -> str:
    """Make a dataset of ``ROWS`` rows without a worker.

    Raises:
        RuntimeError: The import of its rows cannot be claimed.
    """
    columns = {"id": "id", "subject": None, "split": None, "label": "label"}
    with writing() as tx:
        dataset_id = datasets.create_dataset(
            tx, SYSTEM, tenant_id, DatasetOrder("data", columns)
        ).id
        upload = datasets.begin_revision(tx, tenant_id, dataset_id)
        datasets.finish_revision(
            tx, SYSTEM, tenant_id, dataset_id, upload, digest="sha256:00", on_suppressed="refuse"
        )
        job_id = tx.scalars(select(Job.id)).one()
    with writing() as tx:
        claim = running.claim(tx, job_id, "benchmark")
        if claim is None:
            raise RuntimeError("the import cannot be claimed")
    with writing() as tx:
        plan = importing.plan_import(tx, job_id, claim.fence)
    spec = ColumnSpec("label", "number", "int64", None, nullable=False)
    place = settings().rows_folder / plan.folder
    place.parent.mkdir(parents=True)
    writer = RowWriter.create(place, [spec], plan.roles)
    writer.append(
        RowBatch(
            ids=PackedStrings.of([f"row-{number}" for number in range(ROWS)]),
            subjects=None,
            splits=None,
            columns={"label": Cells.of(spec, [0] * ROWS)},
        )
    )
    writer.finish()
    with writing() as tx:
        importing.complete_import(
            tx,
            job_id,
            claim.fence,
            rows=ROWS,
            splits={},
            columns=[spec.to_json()],
            watermark=plan.watermark,
        )
    return dataset_id


def _scale(entries: int) -> dict[str, float]:
    seconds = 0.0
    for start in range(0, entries, APPENDED):
        with writing() as tx:
            for number in range(start, min(entries, start + APPENDED)):
                audit.append(
                    tx,
                    tenant_id="ten_benchmark",
                    type="thing.made",
                    actor=SYSTEM,
                    entity_kind="thing",
                    entity_id=f"thing_{number}",
                    links=audit.Links(facts={"number": number}),
                )
        started = time.perf_counter()
        sealed = sealing.MOST_ENTRIES
        while sealed == sealing.MOST_ENTRIES:
            with writing() as tx:
                sealed = sealing.seal(tx)
        with writing() as tx:
            sealing.sign(tx)
        seconds += time.perf_counter() - started
    generator = random.Random(0)
    times, longest = [], 0
    with reading() as tx:
        size = tree.size_of(tx)
        for _ in range(PROOFS):
            started = time.perf_counter()
            proof = prove_inclusion(generator.randrange(size), size, tree.reader(tx))
            times.append(1000 * (time.perf_counter() - started))
            longest = max(longest, len(proof))
    return {
        "size": size,
        "rate": size / seconds,
        "proof_ms": median(times),
        "slowest_ms": max(times),
        "hashes": longest,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
