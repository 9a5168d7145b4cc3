"""Choosing the encoder of a version."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import ColumnSpec, Overlay, RowStore, check_inputs
from app.infra.rows.input_kinds import (
    BagOfWordsInputs,
    ImageInputs,
    TableInputs,
    VectorInputs,
)
from workers.inputs.bag_of_words import BagOfWordsEncoder
from workers.inputs.image import ImageEncoder
from workers.inputs.table import TableEncoder
from workers.inputs.vector import VectorEncoder


class Encoder(Protocol):
    """Makes inputs from raw cells.

    A column that is corrected is corrected before it is encoded, never after.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that are read."""
        ...

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of the inputs of one row."""
        ...

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
        ...


def make_encoder(
    declaration: Mapping[str, Any], columns: Mapping[str, ColumnSpec] | None = None
) -> Encoder:
    """Return the encoder that a version's ``inputs`` object declares.

    Args:
        declaration: The object; decoded JSON, hence ``Any``.
        columns: Columns of the data set to hold it against.

    Returns:
        The encoder.

    Raises:
        BadInputs: The declaration is wrong or does not fit the columns.
        TypeError: A kind is declared but no encoder is known for it.
    """
    spec = check_inputs(declaration, columns)
    match spec:
        case ImageInputs():
            return ImageEncoder(spec)
        case VectorInputs():
            return VectorEncoder(spec)
        case TableInputs():
            return TableEncoder(spec)
        case BagOfWordsInputs():
            return BagOfWordsEncoder(spec)
        case _:
            raise TypeError(f"no encoder for {type(spec).__name__}")
