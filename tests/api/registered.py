"""Datasets and versions that are ready, without a worker: its part is played here."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.client import Lethe
from app.domain.actions import importing, running, validating
from app.domain.jobs import Job
from app.infra import db
from app.infra.rows import Cells, ColumnSpec, PackedStrings, RowBatch, RowWriter
from app.infra.settings import settings

ROWS = 20
COLUMNS = (
    ColumnSpec("x", "list", "float32", 2, nullable=False),
    ColumnSpec("label", "number", "int64"),
)
ARCHITECTURE = {
    "builder": "sequential",
    "config": {"layers": [{"type": "linear", "in_features": 2, "out_features": 2}]},
}
VERSION = {
    "training_split": "train",
    "holdout_split": "test",
    "architecture": ARCHITECTURE,
    "inputs": {"kind": "vector", "column": "x", "length": 2},
    "objective": "cross_entropy",
}


@dataclass(frozen=True)
class Registered:
    """A live version, its model, its dataset and its file."""

    dataset_id: str
    model_id: str
    version_id: str
    weights: bytes

    @property
    def path(self) -> str:
        """The version's path."""
        return f"/v1/models/{self.model_id}/versions/{self.version_id}"


def safetensors(bias: float = 0.0) -> bytes:
    """Return a file with the weights of ``ARCHITECTURE``, written by hand."""
    weight = np.arange(4, dtype="<f4").tobytes()
    tensors = {
        "0.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + weight + np.full(2, bias, "<f4").tobytes()


def claim(tx: Session, kind: str) -> tuple[str, int]:
    """Claim the newest queued job of a kind; return its id and fence."""
    job = tx.scalars(
        select(Job).where(Job.kind == kind, Job.state == "queued").order_by(Job.id.desc())
    ).first()
    assert job is not None
    claimed = running.claim(tx, job.id, "test")
    assert claimed is not None
    return job.id, claimed.fence


def ready_dataset(client: Lethe) -> str:
    """Register a dataset and import ids ``s0``... of which the last five are held out."""
    dataset = client.create_dataset("rows", id="id", subject="who", split="split", label="label")
    dataset_id = str(dataset["id"])
    client.upload_content(dataset_id, b"PAR1 never read here")
    with db.writing() as tx:
        job_id, fence = claim(tx, "import")
        plan = importing.plan_import(tx, job_id, fence)
        folder = settings().rows_folder / plan.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        writer = RowWriter.create(folder, COLUMNS, plan.roles)
        numbers = range(ROWS)
        writer.append(
            RowBatch(
                PackedStrings.of([f"s{number}" for number in numbers]),
                {
                    "x": Cells.of(COLUMNS[0], [[float(number), 1.0] for number in numbers]),
                    "label": Cells.of(COLUMNS[1], [number % 2 for number in numbers]),
                },
                PackedStrings.of([f"p{number // 2}" for number in numbers]),
                PackedStrings.of(["train" if number < ROWS - 5 else "test" for number in numbers]),
            )
        )
        writer.finish()
        assert importing.complete_import(
            tx,
            job_id,
            fence,
            rows=ROWS,
            splits={"train": ROWS - 5, "test": 5},
            columns=[spec.to_json() for spec in COLUMNS],
            watermark=plan.watermark,
        )
    return dataset_id


def live_version(client: Lethe, dataset_id: str | None = None) -> Registered:
    """Register a version of a new model, upload its weights and pass their validation."""
    dataset_id = dataset_id or ready_dataset(client)
    model_id = str(client.create_model("classifier")["id"])
    version = client.create_version(model_id, {**VERSION, "dataset_id": dataset_id})
    weights = safetensors(float(hashlib.sha256(model_id.encode()).digest()[0]))
    client.upload_weights(model_id, version["id"], weights)
    with db.writing() as tx:
        job_id, fence = claim(tx, "validate")
        baseline = {"training": {"loss": 0.5, "accuracy": 0.9}, "holdout": {"loss": 0.6}}
        validating.complete_validation(tx, job_id, fence, baseline=baseline, parameters=6)
    return Registered(dataset_id, model_id, str(version["id"]), weights)
