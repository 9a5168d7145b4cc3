"""One column of a store: cells and their null marks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.cells import BYTE, Numbers, Strings, as_numbers
from app.infra.rows.columns import Cell, ColumnSpec
from app.infra.rows.mapped import MappedFile
from app.infra.rows.overlay import Overlay

Values = NDArray[Any] | list[str | None]
"""What is read: ``(n,)`` or ``(n, length)`` numbers, or ``n`` strings."""


class Column:
    """Cells of one column, as they are stored or as corrections make them.

    Attributes:
        spec: What the cells are.
    """

    def __init__(self, stem: Path, spec: ColumnSpec, rows: int, *, writable: bool) -> None:
        """Map the files that begin with ``stem``."""
        self.spec = spec
        self._cells: Numbers | Strings
        if spec.kind == "string":
            self._cells = Strings(stem, rows, writable=writable)
        else:
            self._cells = Numbers(stem, spec.storage, (rows, *spec.shape), writable=writable)
        self._valid = (
            MappedFile(stem.with_suffix(".valid"), BYTE, (rows,), writable=writable)
            if spec.nullable
            else None
        )

    def read(
        self, rows: NDArray[np.int64], overlay: Overlay | None = None
    ) -> tuple[Values, NDArray[np.bool_]]:
        """Return cells and whether each is there; a null number reads as zeros."""
        if self._valid is None:
            valid = np.ones(len(rows), np.bool_)
        else:
            valid = self._valid.array[rows] != 0
        values: Values
        if isinstance(self._cells, Numbers):
            values = self._cells.array[rows]
        else:
            texts = self._cells.packed(rows).texts()
            values = [text if v else None for text, v in zip(texts, valid.tolist(), strict=True)]
        if overlay is not None and overlay.covers(self.spec.name):
            positions, cells = overlay.cells(self.spec.name, rows)
            valid[positions] = [cell is not None for cell in cells]
            self._put(values, positions, cells)
        return values, valid

    def _put(self, values: Values, positions: NDArray[np.int64], cells: Sequence[Cell]) -> None:
        """Replace what was read at ``positions``."""
        if isinstance(values, list):
            for position, cell in zip(positions.tolist(), cells, strict=True):
                values[position] = None if cell is None else str(cell)
        else:
            values[positions] = as_numbers(cells, values.dtype, values.shape[1:])

    def with_label(self, label: Cell) -> NDArray[np.int64]:
        """Return the rows whose cell equals ``label``; erased rows may be among them."""
        if isinstance(self._cells, Strings):
            found = self._cells.equal_to(str(label))
        else:
            same = self._cells.array == label
            found = np.flatnonzero(same if same.ndim == 1 else same.all(axis=1))
        return found if self._valid is None else found[self._valid.array[found] != 0]

    def overwrite(self, rows: NDArray[np.int64], values: Sequence[Cell]) -> None:
        """Replace cells by canonical ones, each row named once; no byte of the old ones stays."""
        self._cells.overwrite(rows, values)
        if self._valid is not None:
            self._valid.array[rows] = [value is not None for value in values]

    def erase(self, rows: NDArray[np.int64]) -> None:
        """Make everything of ``rows`` zero."""
        self._cells.erase(rows)
        if self._valid is not None:
            self._valid.array[rows] = 0

    def flush(self) -> None:
        """Return when every change is on the disk."""
        self._cells.flush()
        if self._valid is not None:
            self._valid.flush()
