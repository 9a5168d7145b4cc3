"""What every encoder has: a checked declaration, and a way from cells to inputs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.input_kinds import InputSpec

SpecT_co = TypeVar("SpecT_co", bound=InputSpec, covariant=True)


@dataclass(frozen=True)
class Encoder(ABC, Generic[SpecT_co]):
    """Makes inputs from raw cells.

    A column that is corrected is corrected before it is encoded, never after.

    Attributes:
        spec: The declaration.
    """

    spec: SpecT_co

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        return self.spec.column_names

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of the inputs of one row."""
        return self.spec.sample_shape

    @abstractmethod
    def encode(
        self,
        store: RowStore,
        rows: NDArray[np.int64],
        overlay: Overlay | None = None,
        device: str = "cpu",
    ) -> Tensor:
        """Encode some rows.

        Args:
            store: The rows' store.
            rows: Row numbers, ``(n,)``.
            overlay: Corrections that count instead of stored cells.
            device: Where the tensor is to be.

        Returns:
            ``(n, *sample_shape)``, float32 unless the declaration says otherwise.
        """
