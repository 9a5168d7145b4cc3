"""What can go wrong with stored rows.

RowsError
├── WrongType            a cell value does not fit its column
├── UnknownColumn        the dataset has no column of that name
├── StoreExists          a dataset revision is already at that place
├── DamagedStore         the files of a store do not fit together
├── DamagedOverlay       bytes are not an overlay
├── ReadOnlyStore        a change was asked of a store opened for reading
├── UnusableRows         rows cannot become a store
│   ├── NoRows
│   ├── NullIds
│   ├── DuplicateIds
│   └── TooManySplits
└── BadInputs            a declaration of model inputs or targets is wrong

None of them carries an id, a label or a cell.
"""


class RowsError(Exception):
    """Base of everything this package raises on purpose."""


class WrongType(RowsError):
    """A cell value does not fit its column.

    Attributes:
        column: Name of the column.
        expected: What would have been right, in words.
    """

    def __init__(self, column: str, expected: str) -> None:
        super().__init__(f"column {column!r} takes {expected}")
        self.column = column
        self.expected = expected


class UnknownColumn(RowsError):
    """The dataset has no column of that name.

    Attributes:
        column: The name asked for.
    """

    def __init__(self, column: str) -> None:
        super().__init__(f"no column is named {column!r}")
        self.column = column


class StoreExists(RowsError):
    """A dataset revision is already at that place."""


class DamagedStore(RowsError):
    """The files of a store are missing or do not fit together."""


class DamagedOverlay(RowsError):
    """Bytes are not an overlay written by ``Overlay.to_bytes``."""


class ReadOnlyStore(RowsError):
    """A change was asked of a store opened for reading."""


class UnusableRows(RowsError):
    """Rows cannot become a store.

    Attributes:
        count: How many rows are at fault.
    """

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count


class NoRows(UnusableRows):
    """There is not a single row."""

    def __init__(self) -> None:
        super().__init__("there are no rows", 0)


class NullIds(UnusableRows):
    """Rows have no id; an empty id is no id."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} rows have no id", count)


class DuplicateIds(UnusableRows):
    """Ids occur more than once; ``count`` is rows minus distinct ids."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} rows repeat the id of another row", count)


class TooManySplits(UnusableRows):
    """The split column holds too many distinct names to be a split."""

    def __init__(self, count: int) -> None:
        super().__init__(f"the split column holds at least {count} different names", count)


class BadInputs(RowsError):
    """A declaration of model inputs or targets is wrong.

    Attributes:
        pointer: JSON Pointer into the declaration ("" is all of it).
        reason: One sentence for the caller.
    """

    def __init__(self, pointer: str, reason: str) -> None:
        super().__init__(f"{pointer or '/'}: {reason}")
        self.pointer = pointer
        self.reason = reason
