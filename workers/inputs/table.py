"""Tables: numbers standardised, categories one-hot, side by side."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.column import Values
from app.infra.rows.columns import ColumnSpec
from app.infra.rows.input_kinds import OneHot, Standard, TableInputs
from workers.inputs.base import Encoder


@dataclass(frozen=True)
class TableEncoder(Encoder[TableInputs]):
    """Encoded columns, concatenated in the order of the declaration.

    A null number counts as the mean, hence as 0; a null or unknown category as none.
    """

    def encode(
        self,
        store: RowStore,
        rows: NDArray[np.int64],
        overlay: Overlay | None = None,
        device: str = "cpu",
    ) -> Tensor:
        """Return float32 ``(n, width)``; see ``Encoder``."""
        encoded = np.zeros((len(rows), *self.sample_shape), np.float32)
        for column, part in self._parts(encoded):
            values, valid = store.read(column.name, rows, overlay)
            if isinstance(column, Standard):
                numbers = np.asarray(values, np.float64)
                part[valid, 0] = ((numbers - column.mean) / column.std)[valid]
            else:
                places = _places(store.columns[column.name], column, values)
                places[~valid] = -1
                known = np.flatnonzero(places >= 0)
                part[known, places[known]] = 1.0
        return torch.from_numpy(encoded).to(device)

    def _parts(
        self, encoded: NDArray[np.float32]
    ) -> Iterator[tuple[Standard | OneHot, NDArray[np.float32]]]:
        """Yield each column and the slice of the result that it fills."""
        start = 0
        for column in self.spec.columns:
            width = len(column.categories) if isinstance(column, OneHot) else 1
            yield column, encoded[:, start : start + width]
            start += width


def _places(spec: ColumnSpec, column: OneHot, values: Values) -> NDArray[np.int64]:
    """Return which category each cell equals; -1 for none."""
    places = {spec.check(category): i for i, category in enumerate(column.categories)}
    cells = values if isinstance(values, list) else values.tolist()
    return np.fromiter((places.get(cell, -1) for cell in cells), np.int64, len(cells))
