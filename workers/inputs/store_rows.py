"""Rows of a store as the rows of a problem, read batch by batch from the memory map."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.input_kinds import InputSpec
from app.unlearning.rows import Batch
from workers.inputs.base import Encoder
from workers.inputs.targets import read_targets


@dataclass(frozen=True)
class StoreRows:
    """Some rows of a store, encoded when they are asked for; nothing is kept.

    Implements ``app.unlearning.rows.Rows``.

    Attributes:
        store: Where they are.
        rows: Row numbers, ``(n,)``, in the order of this set.
        encoder: Makes the inputs.
        label_column: Where the targets are.
        objective_name: Says what targets look like; see ``read_targets``.
        overlay: Corrections that count instead of stored cells.
        device: Where the tensors are to be.
        classes: Outputs of the network, which a class has to be one of; None where not known.
    """

    store: RowStore
    rows: NDArray[np.int64]
    encoder: Encoder[InputSpec]
    label_column: str
    objective_name: str
    overlay: Overlay | None = None
    device: str = "cpu"
    classes: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all rows in their order, ``size`` at a time.

        Raises:
            ValueError: ``size`` is not positive.
            UnusableTargets: A label does not fit the objective.
        """
        if size < 1:
            raise ValueError("a batch holds at least one row")
        for start in range(0, len(self.rows), size):
            yield self._read(self.rows[start : start + size])

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``: int64 ``(b,)`` on the CPU.

        Raises:
            UnusableTargets: A label does not fit the objective.
        """
        return self._read(self.rows[positions.numpy()])

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        """Return one batch.

        Raises:
            UnusableTargets: A label does not fit the objective.
        """
        inputs = self.encoder.encode(self.store, rows, self.overlay, self.device)
        targets = read_targets(
            self.store,
            rows,
            self.label_column,
            self.objective_name,
            self.overlay,
            classes=self.classes,
        )
        return Batch(inputs, targets.to(self.device))
