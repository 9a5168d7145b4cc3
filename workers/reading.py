"""Rows of a version's data as tensors: which ones, with which values, and how many."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.domain.catalog import Version
from app.domain.edits import Edits
from app.infra.rows import BadInputs, Overlay, RowStore
from app.infra.rows.input_kinds import InputSpec
from app.unlearning.architectures import Forward, trace_forward
from app.unlearning.rows import Batch, CappedRows, Rows, TensorRows, empty
from workers.inputs.base import Encoder
from workers.inputs.encoder import make_encoder
from workers.inputs.store_rows import StoreRows
from workers.inputs.targets import unusable_rows

RowNumbers = NDArray[np.int64]

MEMORY_BYTES = 512 * 2**20
"""Rows that fit into this much memory are decoded once; others are decoded whenever read."""
BATCH_ROWS = 1024
MOST_ACTIVATIONS = 2**28
"""Scalars that one forward pass may make (1 GiB in float32): batches are cut to fit, and a
network that needs more for a single row is refused."""


class NetworkTooLarge(Exception):
    """A forward pass over one row makes more than ``MOST_ACTIVATIONS`` scalars."""


@dataclass(frozen=True)
class Reader:
    """Reads rows of one dataset revision as one version sees them.

    Attributes:
        store: The row files.
        version: Whose inputs and objective decide on the tensors.
        device: Where the tensors go.
    """

    store: RowStore
    version: Version
    device: torch.device

    def rows(self, numbers: RowNumbers, values: Overlay) -> Rows:
        """Return some rows with pending corrections applied; no tensor is made yet.

        Raises:
            BadInputs: The inputs do not fit the columns, or there is no label column.
            NetworkTooLarge: One row is too much for the network's memory.
        """
        if not len(numbers):
            return empty()
        label = self.store.roles.label
        if label is None:
            raise BadInputs("/objective", "the dataset has no label column")
        encoder, traced = self._traced(numbers, values)
        rows = StoreRows(
            self.store,
            numbers,
            encoder,
            label,
            self.version.objective,
            values,
            str(self.device),
            classes=None if traced is None else traced.outputs,
        )
        if traced is None:  # Running it will show what is wrong.
            return rows
        if traced.activations > MOST_ACTIVATIONS:
            raise NetworkTooLarge
        return CappedRows(rows, MOST_ACTIVATIONS // max(1, traced.activations))

    def without_unusable(self, numbers: RowNumbers, values: Overlay) -> RowNumbers:
        """Leave out the rows whose label the network cannot be trained on.

        A row may have been corrected to a class that is right and none of the network's. Whoever
        asked for that is told so by the job that serves it; the jobs of others must not fail of it.
        """
        label = self.store.roles.label
        if label is None or not len(numbers):
            return numbers
        _, traced = self._traced(numbers, values)
        classes = None if traced is None else traced.outputs
        objective = self.version.objective
        wrong = unusable_rows(self.store, numbers, label, objective, values, classes=classes)
        return np.setdiff1d(numbers, wrong, assume_unique=True)

    def _traced(
        self, numbers: RowNumbers, values: Overlay
    ) -> tuple[Encoder[InputSpec], Forward | None]:
        """Return the encoder, and what the network makes of the first of some rows.

        Raises:
            BadInputs: The inputs do not fit the columns.
        """
        encoder = make_encoder(self.version.inputs, self.store.columns)
        one = encoder.encode(self.store, numbers[:1], values, str(self.device))
        return encoder, trace_forward(self.version.architecture, one)


def open_reader(root: Path, edits: Edits, version: Version, device: torch.device) -> Reader:
    """Open the row files that a version's edits are about, below ``root``."""
    return Reader(RowStore.open(root / edits.folder), version, device)


def retained_numbers(store: RowStore, edits: Edits) -> RowNumbers:
    """Return the training rows that are neither deleted nor corrected by the job, ascending."""
    return _without(store.in_split(edits.split), edits.forget, edits.replaced, edits.removed)


def holdout_numbers(store: RowStore, edits: Edits) -> RowNumbers:
    """Return the held-out rows that may still be read, ascending."""
    if edits.holdout_split is None:
        return np.empty(0, np.int64)
    return _without(store.in_split(edits.holdout_split), edits.forget, edits.removed)


def sample(numbers: RowNumbers, most: int, seed: int) -> RowNumbers:
    """Draw at most ``most`` rows uniformly without replacement, ascending."""
    if len(numbers) <= most:
        return numbers
    drawn = np.random.default_rng(seed).choice(len(numbers), most, replace=False)
    return numbers[np.sort(drawn)]


def seed_of(name: str) -> int:
    """Return a seed that is the same whenever the same job is run."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def in_memory(rows: Rows, limit: int = MEMORY_BYTES) -> Rows:
    """Decode rows once and for all if they fit into ``limit`` bytes."""
    if not len(rows):
        return rows
    if isinstance(rows, CappedRows):
        return CappedRows(in_memory(rows.rows, limit), rows.most)
    one = rows.take(torch.zeros(1, dtype=torch.int64))
    if len(rows) * _bytes(one) > limit:
        return rows
    batches = list(rows.batches(BATCH_ROWS))
    return TensorRows(
        torch.cat([batch.inputs for batch in batches]),
        torch.cat([batch.targets for batch in batches]),
    )


def _bytes(batch: Batch) -> int:
    return batch.inputs.nbytes + batch.targets.nbytes


def _without(numbers: RowNumbers, *others: RowNumbers) -> RowNumbers:
    return np.setdiff1d(numbers, np.concatenate(others), assume_unique=False)
