"""Rows of data set revisions in fixed-width, memory-mapped files.

``RowWriter`` makes a store, ``RowStore`` reads and changes one, ``Overlay`` holds corrections
that are not written yet. numpy and the standard library are all it needs.
"""

from app.infra.rows.columns import Cell, ColumnSpec, Roles
from app.infra.rows.errors import (
    BadInputs,
    DamagedOverlay,
    DamagedStore,
    DuplicateIds,
    NoRows,
    NullIds,
    ReadOnlyStore,
    RowsError,
    StoreExists,
    TooManySplits,
    UnknownColumn,
    UnusableRows,
    WrongType,
)
from app.infra.rows.input_specs import check_inputs, check_targets
from app.infra.rows.overlay import Overlay
from app.infra.rows.store import RowStore
from app.infra.rows.strings import PackedStrings
from app.infra.rows.writer import Cells, RowBatch, RowWriter, delete_partial

__all__ = [
    "BadInputs",
    "Cell",
    "Cells",
    "ColumnSpec",
    "DamagedOverlay",
    "DamagedStore",
    "DuplicateIds",
    "NoRows",
    "NullIds",
    "Overlay",
    "PackedStrings",
    "ReadOnlyStore",
    "Roles",
    "RowBatch",
    "RowStore",
    "RowWriter",
    "RowsError",
    "StoreExists",
    "TooManySplits",
    "UnknownColumn",
    "UnusableRows",
    "WrongType",
    "check_inputs",
    "check_targets",
    "delete_partial",
]
