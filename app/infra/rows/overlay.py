"""Corrected cells that are not in the row files yet."""

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.columns import Cell, ColumnSpec
from app.infra.rows.errors import DamagedOverlay, UnknownColumn


@dataclass(frozen=True)
class Layer:
    """One correction of one column.

    Attributes:
        rows: Ascending and distinct, or None for every row of the data set.
        values: Canonical cells, one for each of ``rows``; a single one for None.
    """

    rows: NDArray[np.int64] | None
    values: tuple[Cell, ...]


class Overlay:
    """Pending cells by column; the later of two corrections of one cell wins.

    An overlay is a value: ``with_cells`` and ``merged`` return another one. Cells are
    canonical, as ``ColumnSpec.check`` returns them.
    """

    def __init__(self, layers: Mapping[str, Sequence[Layer]] | None = None) -> None:
        self._layers: dict[str, tuple[Layer, ...]] = {
            column: tuple(stack) for column, stack in (layers or {}).items()
        }

    def with_cells(
        self, column: str, rows: Sequence[int] | NDArray[np.int64] | None, values: Sequence[Cell]
    ) -> "Overlay":
        """Return this overlay with more cells on top.

        Args:
            column: Name of the column.
            rows: Row numbers, the last of equal ones counts; None for every row.
            values: One cell for each row; exactly one when ``rows`` is None.

        Returns:
            Another overlay.

        Raises:
            ValueError: ``rows`` and ``values`` differ in number.
        """
        if rows is None:
            if len(values) != 1:
                raise ValueError("every row takes one value")
            layer = Layer(None, tuple(values))
        else:
            last = dict(zip(np.asarray(rows, np.int64).tolist(), values, strict=True))
            ordered = sorted(last)
            layer = Layer(np.array(ordered, np.int64), tuple(last[row] for row in ordered))
        return self.merged(Overlay({column: (layer,)}))

    def merged(self, later: "Overlay") -> "Overlay":
        """Return this overlay with ``later`` on top."""
        layers = self.layers
        for column, stack in later.layers.items():
            # A layer of every row hides what is below it.
            hides = [i for i, layer in enumerate(stack) if layer.rows is None]
            kept = stack[hides[-1] :] if hides else (*layers.get(column, ()), *stack)
            layers[column] = kept
        return Overlay(layers)

    def without(self, rows: NDArray[np.int64], columns: Collection[str] | None = None) -> "Overlay":
        """Return this overlay without the cells of some rows; one value for every row stays.

        Args:
            rows: Row numbers, ``(n,)``.
            columns: Only in these columns; None for all.

        Returns:
            Another overlay.
        """
        layers = self.layers
        for column in self.columns if columns is None else columns:
            stack = [_without(layer, rows) for layer in layers.pop(column, ())]
            if kept := [layer for layer in stack if layer.rows is None or len(layer.rows)]:
                layers[column] = tuple(kept)
        return Overlay(layers)

    @property
    def layers(self) -> dict[str, tuple[Layer, ...]]:
        """The corrections of each column, the last on top."""
        return dict(self._layers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns with pending cells."""
        return tuple(self._layers)

    def __bool__(self) -> bool:
        return bool(self._layers)

    def covers(self, column: str) -> bool:
        """Say whether any cell of ``column`` is pending."""
        return column in self._layers

    def rows(self) -> NDArray[np.int64] | None:
        """Return the rows with pending cells, ascending; None when it is every row."""
        parts = [layer.rows for stack in self._layers.values() for layer in stack]
        known = [part for part in parts if part is not None]
        if len(known) != len(parts):
            return None
        return np.unique(np.concatenate([np.empty(0, np.int64), *known]))

    def rows_of(self, column: str) -> NDArray[np.int64]:
        """Return the rows with a pending cell of their own in one column, ascending."""
        stack = self._layers.get(column, ())
        known = [layer.rows for layer in stack if layer.rows is not None]
        return np.unique(np.concatenate([np.empty(0, np.int64), *known]))

    def cells(self, column: str, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[Cell]]:
        """Return the positions in ``rows`` that have a pending cell, ascending, and the cells."""
        found: dict[int, Cell] = {}
        for layer in self._layers.get(column, ()):
            if layer.rows is None:
                found = dict.fromkeys(range(len(rows)), layer.values[0])
            elif len(layer.rows):
                places = np.searchsorted(layer.rows, rows).clip(max=len(layer.rows) - 1)
                hits = np.flatnonzero(layer.rows[places] == rows)
                for hit, place in zip(hits.tolist(), places[hits].tolist(), strict=True):
                    found[hit] = layer.values[place]
        positions = sorted(found)
        return np.array(positions, np.int64), [found[position] for position in positions]

    def checked(self, columns: Mapping[str, ColumnSpec]) -> "Overlay":
        """Return this overlay with every cell checked against its column.

        Raises:
            UnknownColumn: A column is not among ``columns``.
            WrongType: A cell does not fit its column.
        """
        for column in self._layers:
            if column not in columns:
                raise UnknownColumn(column)
        return Overlay({
            column: [
                Layer(layer.rows, tuple(map(columns[column].check, layer.values)))
                for layer in stack
            ]
            for column, stack in self._layers.items()
        })

    def to_bytes(self) -> bytes:
        """Return the overlay as compressed JSON."""
        document = {
            column: [
                {
                    "rows": None if layer.rows is None else layer.rows.tolist(),
                    "values": layer.values,
                }
                for layer in stack
            ]
            for column, stack in self._layers.items()
        }
        return zlib.compress(json.dumps(document, allow_nan=False).encode())

    @classmethod
    def from_bytes(cls, content: bytes) -> "Overlay":
        """Read what ``to_bytes`` wrote.

        Raises:
            DamagedOverlay: The bytes are something else.
        """
        try:
            # A decoded JSON document may be anything: Any.
            document: Any = json.loads(zlib.decompress(content))
            return cls({
                column: [_read_layer(layer) for layer in stack]
                for column, stack in document.items()
            })
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedOverlay("these bytes are no overlay") from error


def _without(layer: Layer, rows: NDArray[np.int64]) -> Layer:
    if layer.rows is None:
        return layer
    kept = np.flatnonzero(~np.isin(layer.rows, rows))
    return Layer(layer.rows[kept], tuple(layer.values[place] for place in kept.tolist()))


def _read_layer(document: Mapping[str, Any]) -> Layer:
    """Read one layer of the JSON document.

    Raises:
        ValueError: Rows and values do not match.
    """
    values = tuple(document["values"])
    if document["rows"] is None:
        if len(values) != 1:
            raise ValueError("every row takes one value")
        return Layer(None, values)
    rows = np.array(document["rows"], np.int64)
    if rows.shape != (len(values),) or not (np.diff(rows) > 0).all():
        raise ValueError("rows and values do not match")
    return Layer(rows, values)
