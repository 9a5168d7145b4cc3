"""Jobs run by the real workers, one after the other in this process, on a small learned network."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sqlalchemy import select
from torch import nn

from app.domain.actions import versions
from app.domain.jobs import Job
from app.domain.requests import Target, TargetJob
from app.infra import clock
from app.infra.db import reading, writing
from app.infra.settings import settings
from app.infra.storage import open_store
from tests import builders as make
from workers import running

WIDTH, CLASSES = 48, 3
LAYERS: list[dict[str, Any]] = [
    {"type": "linear", "in_features": 2, "out_features": WIDTH},
    {"type": "tanh"},
    {"type": "linear", "in_features": WIDTH, "out_features": CLASSES},
]
RECIPE = {
    "optimizer": "adam",
    "learning_rate": 0.05,
    "batch_size": 32,
    "epochs": 6,
    "seed": 3,
    "initialisation_seed": 4,
}


def content(samples: int = 220, held_out: int = 60) -> make.Table:
    """Three noisy clusters in the plane."""
    chance = np.random.default_rng(0)
    labels = [number % CLASSES for number in range(samples)]
    angles = np.array(labels) * 2 * np.pi / CLASSES
    points = np.stack([np.cos(angles), np.sin(angles)], 1) + 0.5 * chance.normal(size=(samples, 2))
    table = make.table(samples, held_out=held_out)
    table.cells["label"] = list(labels)
    table.cells["x"] = [[float(a), float(b)] for a, b in points]
    return table


def live_version(tenant_id: str, model_id: str, dataset_id: str, folder: Path) -> str:
    """Upload a network and let a worker validate it."""
    version_id = make.register(
        tenant_id,
        model_id,
        dataset_id,
        architecture={"builder": "sequential", "config": {"layers": LAYERS}},
        recipe=RECIPE,
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES))
    file = folder / "uploaded.safetensors"
    save_file(model.state_dict(), file)
    with writing() as tx:
        upload = versions.begin_weights(tx, tenant_id, model_id, version_id)
        open_store(settings().store_url).put_file(upload.key, file)
        versions.finish_weights(
            tx, make.ACTOR, tenant_id, model_id, version_id, upload,
            digest=f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}",
            size=file.stat().st_size,
        )  # fmt: skip
    work()
    return version_id


def work() -> None:
    """Run every job that is due, as its worker does."""
    while job_id := _due():
        running.run(job_id)


def _due() -> str | None:
    with reading() as tx:
        due = Job.not_before <= clock.database_now(tx)
        return tx.scalar(select(Job.id).where(Job.state == "queued", due).order_by(Job.id).limit(1))


def job_of(request_id: str) -> Job:
    """Return the job that served a request last."""
    query = (
        select(Job)
        .join(TargetJob, TargetJob.job_id == Job.id)
        .join(Target, Target.id == TargetJob.target_id)
        .where(Target.request_id == request_id)
        .order_by(TargetJob.position.desc())
    )
    with reading() as tx:
        return tx.scalars(query.limit(1)).one()
