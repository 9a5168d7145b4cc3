"""A small data set and a network trained on it, as a controller would bring them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import nn

FEATURES, CLASSES = 8, 3
TRAINING_ROWS, HELD_OUT_ROWS = 120, 90
SUBJECTS = 30
COLUMNS = {"id": "sample_id", "subject": "subject_id", "split": "split", "label": "label"}
INPUTS = {"kind": "vector", "column": "features", "length": FEATURES}
ARCHITECTURE = {
    "builder": "sequential",
    "config": {
        "layers": [
            {"type": "linear", "in_features": FEATURES, "out_features": 16},
            {"type": "relu"},
            {"type": "linear", "in_features": 16, "out_features": CLASSES},
        ]
    },
}
RECIPE = {
    "optimizer": "adam",
    "learning_rate": 0.01,
    "momentum": 0.0,
    "batch_size": 32,
    "epochs": 30,
    "seed": 1,
    "schedule": "constant",
    "initialisation_seed": 1,
}


@dataclass(frozen=True)
class Material:
    """What is uploaded. Ids hold a mark that occurs nowhere else."""

    mark: str
    features: np.ndarray
    labels: np.ndarray

    @property
    def ids(self) -> list[str]:
        return [f"{self.mark}-sample-{row:04}" for row in range(len(self.labels))]

    @property
    def subjects(self) -> list[str]:
        return [f"{self.mark}-subject-{row % SUBJECTS:02}" for row in range(len(self.labels))]

    @property
    def splits(self) -> list[str]:
        return ["train" if row < TRAINING_ROWS else "test" for row in range(len(self.labels))]

    def rows_of(self, subject: int) -> list[int]:
        return [row for row in range(len(self.labels)) if row % SUBJECTS == subject]

    def table(self, rows: list[int] | None = None) -> pa.Table:
        chosen = list(range(len(self.labels))) if rows is None else rows
        return pa.table({
            "sample_id": [self.ids[row] for row in chosen],
            "subject_id": [self.subjects[row] for row in chosen],
            "split": [self.splits[row] for row in chosen],
            "label": pa.array([int(self.labels[row]) for row in chosen], pa.int64()),
            "features": pa.array(
                [self.features[row] for row in chosen], pa.list_(pa.float32(), FEATURES)
            ),
        })

    def parquet(self, folder: Path, rows: list[int] | None = None) -> Path:
        path = folder / f"{self.mark}-{0 if rows is None else len(rows)}.parquet"
        pq.write_table(self.table(rows), path)
        return path

    def weights(self) -> bytes:
        """A safetensors file of the network, trained on the training rows."""
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        inputs = torch.from_numpy(self.features[:TRAINING_ROWS])
        targets = torch.from_numpy(self.labels[:TRAINING_ROWS])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        return save(model.state_dict())


def make_material(mark: str, seed: int = 0) -> Material:
    """Draw rows of three overlapping classes."""
    generator = np.random.default_rng(seed)
    count = TRAINING_ROWS + HELD_OUT_ROWS
    labels = generator.integers(0, CLASSES, count)
    centres = generator.normal(0, 1.5, (CLASSES, FEATURES))
    features = centres[labels] + generator.normal(0, 1, (count, FEATURES))
    return Material(mark, features.astype(np.float32), labels)


def version_order(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """The body that registers a version of this network."""
    return {
        "dataset_id": dataset_id,
        "training_split": "train",
        "holdout_split": "test",
        "architecture": ARCHITECTURE,
        "inputs": INPUTS,
        "objective": "cross_entropy",
        "recipe": RECIPE,
    } | changes
