"""The files of a store and its header.

=======================  ==========================================================
``rows.json``            the header: row count, columns, roles, names of splits
``marks.cells``          one byte per row: erased, present, or being erased
``splits.cells``         two bytes per row: 0 for none, else number of the split
``ids.*``                strings, and ``ids.index`` to find rows by them
``subjects.*``           the same for subjects; no bytes for a row about nobody
``column-0000.*``        the other columns in the order of the header: ``cells``;
                         ``heap`` for strings; ``valid`` (one byte per row) for nulls
=======================  ==========================================================

All numbers are little-endian.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from app.infra.rows.columns import ColumnSpec, Roles
from app.infra.rows.errors import DamagedStore

FORMAT = "lethe-rows/1"
MARK = np.dtype("u1")
SPLIT = np.dtype("<u2")
ERASED, PRESENT, BEING_ERASED = 0, 1, 2


@dataclass(frozen=True)
class Header:
    """What must be known to read the other files.

    Attributes:
        rows: Rows in the store, erased ones included.
        columns: Every column but id, subject and split.
        roles: Which column of the data played which role.
        splits: Names of splits; number ``i`` in ``splits.cells`` is ``splits[i - 1]``.
        seed: Secret of the hash in the indexes.
    """

    rows: int
    columns: Sequence[ColumnSpec]
    roles: Roles
    splits: Sequence[str]
    seed: int

    def write(self, folder: Path) -> None:
        """Write the header into ``folder``."""
        document = {
            "format": FORMAT,
            "rows": self.rows,
            "columns": [column.to_json() for column in self.columns],
            "roles": self.roles.to_json(),
            "splits": list(self.splits),
            "seed": self.seed,
        }
        (folder / "rows.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the header of the store in ``folder``.

        Raises:
            DamagedStore: There is none, or it is of another format.
        """
        try:
            # A decoded JSON document may be anything: Any.
            document: dict[str, Any] = json.loads((folder / "rows.json").read_text("utf-8"))
            if document["format"] != FORMAT:
                raise DamagedStore("the header is of another format")
            return cls(
                rows=document["rows"],
                columns=[ColumnSpec.from_json(column) for column in document["columns"]],
                roles=Roles.from_json(document["roles"]),
                splits=document["splits"],
                seed=document["seed"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedStore("the header is missing or unreadable") from error


def column_stem(folder: Path, number: int) -> Path:
    """Return the path of a column's files without their suffix."""
    return folder / f"column-{number:04d}"
