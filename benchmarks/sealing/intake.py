"""Requests taken in by one process, with and without the log.

Without the log means: its trigger is gone and nobody seals. With it: the trigger is there, and a
process of its own seals while requests come in.
"""

import subprocess
import sys
import time

from sqlalchemy import select, text

from app.domain.actions import access, datasets, importing, intake, running, sealing
from app.domain.audit import SYSTEM
from app.domain.jobs import Job
from app.domain.orders import DatasetOrder, DeletionOrder
from app.infra.db import engine, reading, writing
from app.infra.rows import Cells, ColumnSpec, PackedStrings, RowBatch, RowWriter
from app.infra.settings import settings

ROWS = 10_000
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


def measure(requests: int, *, with_log: bool) -> dict[str, float]:
    """Take requests in; return how many a second.

    Args:
        requests: How many, each in a transaction of its own.
        with_log: Whether the log is there.
    """
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
