"""Real tenants, datasets, models, versions and requests, made by the verbs themselves.

The functions open their own transactions on the process's database. Where a worker would
act they call the worker's verbs in the worker's order, on real row files; only the numerics
are left out.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from app.domain.actions import (
    access,
    cancelling,
    datasets,
    importing,
    intake,
    models,
    publishing,
    running,
    validating,
    versions,
    withdrawal,
)
from app.domain.actions.publishing import Outcome
from app.domain.audit import Actor
from app.domain.catalog import Revision, Version
from app.domain.failures import failure
from app.domain.jobs import Job
from app.domain.orders import (
    Correction,
    CorrectionOrder,
    DatasetOrder,
    DeletionOrder,
    ModelOrder,
    VersionOrder,
)
from app.domain.requests import Target, TargetJob
from app.infra import clock
from app.infra.db import reading, writing
from app.infra.rows import (
    Cell,
    Cells,
    ColumnSpec,
    PackedStrings,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
)
from app.infra.settings import settings

ACTOR = Actor("key", "key_test")
COLUMNS = {"id": "id", "subject": "person", "split": "part", "label": "label"}
SPECS = (
    ColumnSpec("label", "number", "int64", None, nullable=False),
    ColumnSpec("x", "list", "float32", 2, nullable=False),
    ColumnSpec("age", "number", "int64", None, nullable=True),
    ColumnSpec("sex", "string", "utf8", None, nullable=True),
)
LAYERS = [{"type": "linear", "in_features": 2, "out_features": 3}]
RECIPE = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 8, "epochs": 2}
REPORT: dict[str, Any] = {
    "verdict": "passed",
    "assurance": "empirical",
    "method_reason": "asked for by the policy",
    "measurements": [
        {
            "name": "forget_accuracy",
            "before": 1.0,
            "after": 0.5,
            "reference": None,
            "interval": [0.2, 0.8],
            "samples": 2,
        }
    ],
    "controls": [],
    "gates": [{"name": "holdout_accuracy_drop", "limit": 0.02, "value": 0.0, "verdict": "passed"}],
    "cost": {
        "seconds": 0.5,
        "phases": {},
        "threads": 1,
        "device": "cpu",
        "rows_read": 12,
        "parameters_changed": 3,
        "parameters_total": 9,
        "gradient_evaluations": 24,
    },
}


@dataclass(frozen=True)
class Table:
    """Rows as they would lie in a Parquet file."""

    ids: list[str]
    persons: list[str]
    parts: list[str]
    cells: dict[str, list[Cell]] = field(default_factory=dict)


def table(samples: int = 20, *, prefix: str = "s", held_out: int = 5) -> Table:
    """Return rows ``s0, s1, ...``; two per person; the last ``held_out`` are ``test``."""
    numbers = range(samples)
    return Table(
        ids=[f"{prefix}{number}" for number in numbers],
        persons=[f"{prefix}-person{number // 2}" for number in numbers],
        parts=["train" if number < samples - held_out else "test" for number in numbers],
        cells={
            "label": [number % 3 for number in numbers],
            "x": [[float(number), -float(number)] for number in numbers],
            "age": [20 + number for number in numbers],
            "sex": [("f", "m")[number % 2] for number in numbers],
        },
    )


def make_tenant(name: str = "test") -> str:
    """Make a tenant; return its id."""
    with writing() as tx:
        return access.create_tenant(tx, ACTOR, name).id


def make_dataset(tenant_id: str, content: Table | None = None, **columns: str | None) -> str:
    """Make a dataset with one ready revision; return its id."""
    order = DatasetOrder("data", {**COLUMNS, **columns})
    with writing() as tx:
        dataset_id = datasets.create_dataset(tx, ACTOR, tenant_id, order).id
    add_revision(tenant_id, dataset_id, content or table())
    return dataset_id


def begin_import(tenant_id: str, dataset_id: str, *, on_suppressed: Any = "refuse") -> str:
    """Upload a revision; return the id of its queued import job."""
    with writing() as tx:
        upload = datasets.begin_revision(tx, tenant_id, dataset_id)
        revision = datasets.finish_revision(
            tx,
            ACTOR,
            tenant_id,
            dataset_id,
            upload,
            digest=f"sha256:{'00' * 32}",
            on_suppressed=on_suppressed,
        )
        return tx.scalars(select(Job.id).where(Job.revision_id == revision.id)).one()


def add_revision(
    tenant_id: str, dataset_id: str, content: Table, *, on_suppressed: Any = "refuse"
) -> str:
    """Upload and import rows as a worker would; return the revision's id."""
    job_id = begin_import(tenant_id, dataset_id, on_suppressed=on_suppressed)
    return run_import(job_id, content)


def run_import(job_id: str, content: Table, *, is_destroyed: bool = True) -> str:
    """Import rows for a queued job and forget their upload; return the revision's id."""
    revision_id = _imported(job_id, content)
    if is_destroyed:
        with writing() as tx:
            importing.forget_upload(tx, revision_id)
    return revision_id


def _imported(job_id: str, content: Table) -> str:
    fence = claim(job_id)
    with writing() as tx:
        plan = importing.plan_import(tx, job_id, fence)
    kept = list(range(len(content.ids)))
    cells = {name: list(values) for name, values in content.cells.items()}
    if plan.guard is not None:
        verdict = plan.guard.inspect(content.ids, content.persons, cells.__getitem__)
        if verdict.offending and plan.guard.mode == "refuse":
            with writing() as tx:
                error = failure("suppressed-samples", "", **verdict.offending)
                importing.refuse_import(tx, job_id, fence, error)
            return plan.revision_id
        for name, position, cell in verdict.replace:
            cells[name][position] = cell
        kept = [number for number in kept if not verdict.drop[number]]
    write_rows(plan.folder, plan.roles, content, cells, kept)
    with RowStore.open(settings().rows_folder / plan.folder) as store, writing() as tx:
        assert importing.complete_import(
            tx,
            job_id,
            fence,
            rows=store.rows,
            splits=store.splits(),
            columns=[spec.to_json() for spec in store.columns.values()],
            watermark=plan.watermark,
        )
    return plan.revision_id


def write_rows(
    folder: str, roles: Roles, content: Table, cells: dict[str, list[Cell]], kept: Sequence[int]
) -> None:
    """Write a row folder."""
    place = settings().rows_folder / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        shutil.rmtree(place)
    specs = [spec for spec in SPECS if spec.name in cells]
    writer = RowWriter.create(place, specs, roles)
    writer.append(
        RowBatch(
            ids=PackedStrings.of([content.ids[number] for number in kept]),
            subjects=PackedStrings.of([content.persons[number] for number in kept])
            if roles.subject
            else None,
            splits=PackedStrings.of([content.parts[number] for number in kept])
            if roles.split
            else None,
            columns={
                spec.name: Cells.of(spec, [cells[spec.name][number] for number in kept])
                for spec in specs
            },
        )
    )
    writer.finish()


def make_model(tenant_id: str, **policy: Any) -> str:
    """Make a model whose policy differs from the defaults by ``policy``; return its id."""
    with writing() as tx:
        return models.create_model(tx, ACTOR, tenant_id, ModelOrder("model", policy)).id


def register(tenant_id: str, model_id: str, dataset_id: str, **fields: Any) -> str:
    """Register a version without weights; return its id."""
    order = VersionOrder(**{
        "dataset_id": dataset_id,
        "architecture": {"builder": "sequential", "config": {"layers": LAYERS}},
        "inputs": {"kind": "vector", "column": "x", "length": 2},
        "objective": "cross_entropy",
        "training_split": "train",
        "holdout_split": "test",
        **fields,
    })
    with writing() as tx:
        return versions.create_version(tx, ACTOR, tenant_id, model_id, order).id


def upload_weights(tenant_id: str, model_id: str, version_id: str) -> str:
    """Give a version weights; return the id of the queued validation."""
    with writing() as tx:
        upload = versions.begin_weights(tx, tenant_id, model_id, version_id)
        versions.finish_weights(
            tx,
            ACTOR,
            tenant_id,
            model_id,
            version_id,
            upload,
            digest=f"sha256:{'01' * 32}",
            size=36,
        )
        query = select(Job.id).where(Job.version_id == version_id, Job.kind == "validate")
        return tx.scalars(query).one()


def validate(job_id: str) -> str:
    """Find uploaded weights good; return the version's state."""
    fence = claim(job_id)
    baseline = {"training": {"loss": 0.1}, "holdout": {"loss": 0.2}}
    with writing() as tx:
        return validating.complete_validation(
            tx, job_id, fence, baseline=baseline, parameters=9
        ).state


def make_version(tenant_id: str, model_id: str, dataset_id: str, **fields: Any) -> str:
    """Make a version that serves; return its id."""
    version_id = register(tenant_id, model_id, dataset_id, **fields)
    validate(upload_weights(tenant_id, model_id, version_id))
    return version_id


def delete(tenant_id: str, dataset_id: str, *sample_ids: str, **fields: Any) -> str:
    """Ask for a deletion; return the request's id."""
    order = DeletionOrder(dataset_id, sample_ids=sample_ids, **fields)
    with writing() as tx:
        return intake.submit_deletion(tx, ACTOR, tenant_id, order).id


def correct(tenant_id: str, dataset_id: str, *corrections: Correction, **fields: Any) -> str:
    """Ask for a correction; return the request's id."""
    order = CorrectionOrder(dataset_id, corrections=corrections, **fields)
    with writing() as tx:
        return intake.submit_correction(tx, ACTOR, tenant_id, order).id


def cancel(tenant_id: str, request_id: str) -> str:
    """Cancel a request; return its state."""
    with writing() as tx:
        return cancelling.cancel_request(tx, ACTOR, tenant_id, request_id).state


def claim(job_id: str, owner: str = "test") -> int:
    """Claim a job; return the fence.

    Raises:
        LookupError: It cannot be claimed.
    """
    with writing() as tx:
        found = running.claim(tx, job_id, owner)
    if found is None:
        raise LookupError(job_id)
    return found.fence


def publish(job_id: str, fence: int | None = None, **report: Any) -> str:
    """Publish a result of a job, claiming it first if it is not; return the new version's id."""
    fence = claim(job_id) if fence is None else fence
    with writing() as tx:
        job = tx.get_one(Job, job_id)
        version = tx.get_one(Version, job.version_id)
        outcome = Outcome(
            weights_key=f"weights/{job.tenant_id}/{version.model_id}/{job.id}/{fence}.safetensors",
            digest=f"sha256:{'02' * 32}",
            size=36,
            parameters=9,
            baseline=None,
            report=REPORT | report,
            method="sparse_newton",
            method_parameters={},
        )
        return publishing.publish(tx, job_id, fence, outcome).id


def reject(job_id: str, fence: int | None = None) -> None:
    """Let a job's result fail its gates."""
    fence = claim(job_id) if fence is None else fence
    with writing() as tx:
        report = {**REPORT, "verdict": "failed"}
        publishing.reject(tx, job_id, fence, failure("gates-failed"), report=report)


def jobs_of(request_id: str) -> list[str]:
    """Return the unlearning jobs of a request that are not done, oldest first."""
    with writing() as tx:
        query = (
            select(Job.id)
            .join(TargetJob, TargetJob.job_id == Job.id)
            .join(Target, Target.id == TargetJob.target_id)
            .where(Target.request_id == request_id, Job.state.in_(("queued", "running")))
            .order_by(Job.id)
            .distinct()
        )
        return list(tx.scalars(query))


def withdraw_job(request_id: str) -> str:
    """Return the id of the queued or running withdrawal of a request."""
    with writing() as tx:
        query = select(Job.id).where(
            Job.request_id == request_id,
            Job.kind == "withdraw",
            Job.state.in_(("queued", "running")),
        )
        return tx.scalars(query).one()


def withdraw(request_id: str) -> withdrawal.Plan:
    """Do what the withdrawal of a request asks for; return the plan."""
    return run_withdrawal(withdraw_job(request_id))


def run_withdrawal(job_id: str) -> withdrawal.Plan:
    """Do what a withdrawal asks for, on real row files; return the plan."""
    fence = claim(job_id)
    with writing() as tx:
        plan = withdrawal.plan(tx, job_id, fence)
    root = settings().rows_folder
    for erasure in plan.erase:
        with RowStore.open(root / erasure.folder, writable=True) as store:
            store.erase(erasure.rows)
    for rewriting in plan.overwrite:
        with RowStore.open(root / rewriting.folder, writable=True) as store:
            store.write_overlay(rewriting.overlay)
    for folder in plan.row_folders:
        shutil.rmtree(root / folder)
    with writing() as tx:
        withdrawal.complete(tx, job_id, fence)
    return plan


def work_off(*, most: int = 50, publishing_by: Callable[[str], object] | None = None) -> int:
    """Run every job that can be claimed until none is left; return how many ran."""
    for count in range(most):
        with writing() as tx:
            due = tx.execute(
                select(Job.id, Job.kind).where(Job.state == "queued").order_by(Job.id)
            ).all()
        for job_id, kind in due:
            with suppress(LookupError):
                run_job(job_id, kind, publishing_by or publish)
                break
        else:
            return count
    raise AssertionError("there is always another job")


def run_job(job_id: str, kind: str, publishing_by: Callable[[str], object]) -> None:
    """Run one job well.

    Raises:
        LookupError: It cannot be claimed.
    """
    if kind == "unlearn":
        publishing_by(job_id)
    elif kind == "withdraw":
        run_withdrawal(job_id)
    elif kind == "validate":
        validate(job_id)
    elif kind == "curvature":
        fence = claim(job_id)
        with writing() as tx:
            job = tx.get_one(Job, job_id)
            key = f"curvature/{job.tenant_id}/{job.version_id}/{fence}.safetensors"
            record = {"key": key, "estimator": "ggn", "rows": 15, "draws": 0, "seed": 0}
            validating.complete_curvature(tx, job_id, fence, record)
    else:
        raise LookupError(kind)


def lapse(job_id: str) -> None:
    """Let a running job's lease be over."""
    with writing() as tx:
        past = clock.now() - timedelta(seconds=1)
        tx.execute(update(Job).where(Job.id == job_id).values(lease_until=past))


def bring_forward(job_id: str) -> None:
    """Let a queued job's time be come."""
    with writing() as tx:
        past = clock.now() - timedelta(seconds=1)
        tx.execute(update(Job).where(Job.id == job_id).values(not_before=past))


def read(cls: type[Any], id: str) -> Any:
    """Return one row as it stands."""
    with reading() as tx:
        return tx.get_one(cls, id)


def state(cls: type[Any], id: str) -> str:
    """Return the state of one entity."""
    return str(read(cls, id).state)


def targets(request_id: str) -> list[Target]:
    """Return the targets of a request, oldest first."""
    with writing() as tx:
        query = select(Target).where(Target.request_id == request_id).order_by(Target.id)
        return list(tx.scalars(query))


def rows_of(dataset_id: str, number: int = 1) -> RowStore:
    """Open the row files of a revision."""
    with writing() as tx:
        query = select(Revision).where(Revision.dataset_id == dataset_id, Revision.number == number)
        return RowStore.open(settings().rows_folder / tx.scalars(query).one().folder)
