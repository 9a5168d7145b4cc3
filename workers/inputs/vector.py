"""Vectors: a numeric list as it is."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.input_kinds import VectorInputs
from workers.inputs.base import Encoder
from workers.inputs.numbers import to_device


@dataclass(frozen=True)
class VectorEncoder(Encoder[VectorInputs]):
    """The numbers of a list; a null list is all zeros."""

    def encode(
        self,
        store: RowStore,
        rows: NDArray[np.int64],
        overlay: Overlay | None = None,
        device: str = "cpu",
    ) -> Tensor:
        """Return ``(n, length)``, float32 or int64 as declared; see ``Encoder``."""
        values, _ = store.read(self.spec.column, rows, overlay)
        dtype = torch.int64 if self.spec.dtype == "int64" else torch.float32
        return to_device(np.asarray(values), device).to(dtype)
