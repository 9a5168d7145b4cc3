"""The data of the demonstration: scikit-learn's handwritten digits, with labels gone wrong.

1797 images of 8 x 8 grey values 0..16. One row in five is held out. The writers are made up, with a
heavy tail, as people are: the first of them owns about a tenth of all rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

COLUMNS = {"id": "sample_id", "subject": "subject_id", "split": "split", "label": "label"}
SHAPE = (1, 8, 8)
CLASSES = 10
INPUTS = {"kind": "image", "column": "image", "shape": list(SHAPE), "scale": 1 / 16}
HELD_OUT_SHARE = 0.2
FLIPPED_SHARE = 0.35
WRITERS = 100
MOST_LEAVING = 0.05


@dataclass(frozen=True)
class Digits:
    """Images and their labels, wrong ones included.

    Attributes:
        images: Grey values 0..16, shape ``(rows, 64)``.
        truth: The right labels, shape ``(rows,)``.
        labels: The labels as registered: those of ``flipped`` rows are one too high, modulo ten.
        writers: Number of each row's writer.
        is_held_out: True for rows that are never trained on.
        is_flipped: True for rows whose label is wrong; all of them training rows.
    """

    images: NDArray[np.uint8]
    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    writers: NDArray[np.int64]
    is_held_out: NDArray[np.bool_]
    is_flipped: NDArray[np.bool_]

    def sample_id(self, row: int) -> str:
        """Return the name a row is registered under."""
        return f"digit-{row:05d}"

    def subject_id(self, writer: int) -> str:
        """Return the name a writer is registered under."""
        return f"writer-{writer:03d}"

    def inputs(self, rows: NDArray[np.bool_]) -> Tensor:
        """Return the chosen images as the network sees them, shape ``(chosen, 1, 8, 8)``."""
        return torch.from_numpy(self.images[rows].astype(np.float32) / 16).reshape(-1, *SHAPE)

    def leaving_writer(self) -> int:
        """Return who has the most training rows among those with at most a twentieth of them.

        More rows than that are retrained for, which would show little.
        """
        rows = np.bincount(self.writers[~self.is_held_out])
        return int(np.where(rows <= MOST_LEAVING * rows.sum(), rows, 0).argmax())

    def corrections(self) -> list[dict[str, Any]]:
        """Return the right label of every flipped row, as a correction names them."""
        rows = np.flatnonzero(self.is_flipped)
        return [
            {"sample_id": self.sample_id(r), "label": int(self.truth[r])} for r in rows.tolist()
        ]

    def write(self, file: Path) -> None:
        """Write the rows as Parquet, wrong labels included."""
        count = len(self.labels)
        table = pa.table({
            "sample_id": [self.sample_id(row) for row in range(count)],
            "subject_id": [self.subject_id(writer) for writer in self.writers],
            "split": ["test" if held_out else "train" for held_out in self.is_held_out],
            "label": self.labels,
            "image": pa.FixedSizeListArray.from_arrays(
                pa.array(self.images.ravel()), self.images.shape[1]
            ),
        })
        pq.write_table(table, file)


def load_digits(seed: int) -> Digits:
    """Draw splits, writers and flips.

    Args:
        seed: Of everything that is drawn.

    Returns:
        The digits.
    """
    from sklearn.datasets import load_digits as bundled

    images, truth = bundled(return_X_y=True)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(truth))
    images, truth = images[order].astype(np.uint8), truth[order].astype(np.int64)
    count = len(truth)
    is_held_out = generator.random(count) < HELD_OUT_SHARE
    is_flipped = (generator.random(count) < FLIPPED_SHARE) & ~is_held_out
    return Digits(
        images=images,
        truth=truth,
        labels=np.where(is_flipped, (truth + 1) % CLASSES, truth),
        writers=(WRITERS * generator.random(count) ** 2).astype(np.int64),
        is_held_out=is_held_out,
        is_flipped=is_flipped,
    )
