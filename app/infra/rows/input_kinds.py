"""The kinds of inputs a version can declare, and what they ask of the columns."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from app.infra.rows.columns import Cell, ColumnSpec
from app.infra.rows.errors import BadInputs, WrongType

Columns = Mapping[str, ColumnSpec]


class InputSpec(Protocol):
    """How cells become the inputs of a network."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of the inputs of one row."""
        ...

    @property
    def column_names(self) -> tuple[str, ...]:
        """Columns that are read, in order."""
        ...

    def check(self, columns: Columns) -> None:
        """Hold the declaration against the columns of a data set.

        Raises:
            BadInputs: A column is missing or of a wrong type.
        """
        ...


@dataclass(frozen=True)
class ImageInputs:
    """``(x * scale - mean) / std`` per channel of a numeric list; a null list is all zeros.

    Attributes:
        column: A list of numbers.
        shape: Channels, height, width.
        layout: How the list is ordered: ``chw`` or ``hwc``.
        scale: Factor.
        mean: One per channel; 0 by default.
        std: One per channel, > 0; 1 by default.
    """

    column: str
    shape: tuple[int, int, int]
    layout: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.shape

    @property
    def column_names(self) -> tuple[str, ...]:
        """The column of the image."""
        return (self.column,)

    def check(self, columns: Columns) -> None:
        """Check that the column's lists have as many numbers as the shape.

        Raises:
            BadInputs: They have not.
        """
        _check_list(columns, self.column, math.prod(self.shape))


@dataclass(frozen=True)
class VectorInputs:
    """A numeric list as it is; a null list is all zeros.

    Attributes:
        column: A list of numbers.
        length: Numbers in it.
        dtype: ``float32``, or ``int64`` for a network that begins with an embedding.
    """

    column: str
    length: int
    dtype: str

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The length."""
        return (self.length,)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The column of the vector."""
        return (self.column,)

    def check(self, columns: Columns) -> None:
        """Check that the column's lists have the length, and integers where they must.

        Raises:
            BadInputs: They have not.
        """
        spec = _check_list(columns, self.column, self.length)
        if self.dtype == "int64" and spec.dtype.startswith("float"):
            raise BadInputs("/dtype", "the column does not hold integers")


@dataclass(frozen=True)
class Standard:
    """``(x - mean) / std`` of a number; null counts as the mean.

    Attributes:
        name: The column.
        mean: Subtracted.
        std: Divided by, > 0.
    """

    name: str
    mean: float
    std: float


@dataclass(frozen=True)
class OneHot:
    """One output per category, 1 where the cell equals it; all zeros where none does.

    Attributes:
        name: The column, of strings or of numbers.
        categories: Different from each other.
    """

    name: str
    categories: tuple[Cell, ...]


@dataclass(frozen=True)
class TableInputs:
    """Encoded columns, concatenated in their order.

    Attributes:
        columns: How each column is encoded.
    """

    columns: tuple[Standard | OneHot, ...]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The width of all columns together."""
        return (sum(len(c.categories) if isinstance(c, OneHot) else 1 for c in self.columns),)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns, each once."""
        return tuple(dict.fromkeys(column.name for column in self.columns))

    def check(self, columns: Columns) -> None:
        """Check that columns are there and of a type that their encoding takes.

        Raises:
            BadInputs: They are not.
        """
        for number, column in enumerate(self.columns):
            pointer = f"/columns/{number}"
            spec = _known(columns, column.name, f"{pointer}/name")
            if spec.kind == "list" or (spec.kind == "string" and isinstance(column, Standard)):
                raise BadInputs(f"{pointer}/encode", f"does not fit a column of kind {spec.kind}")
            if isinstance(column, OneHot):
                _check_categories(spec, column, f"{pointer}/categories")


@dataclass(frozen=True)
class BagOfWordsInputs:
    """One output per word of the vocabulary; a null text has no words.

    Attributes:
        column: A column of strings.
        vocabulary: Tokens, all different.
        weight: ``binary`` or ``count``.
        normalise: ``l2``, or empty for no normalisation.
    """

    column: str
    vocabulary: tuple[str, ...]
    weight: str
    normalise: str

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The size of the vocabulary."""
        return (len(self.vocabulary),)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The column of the text."""
        return (self.column,)

    def check(self, columns: Columns) -> None:
        """Check that the column holds strings.

        Raises:
            BadInputs: It does not.
        """
        if _known(columns, self.column, "/column").kind != "string":
            raise BadInputs("/column", "does not hold strings")


def _known(columns: Columns, name: str, pointer: str) -> ColumnSpec:
    """Return a column of the data set.

    Raises:
        BadInputs: There is none of that name.
    """
    if name not in columns:
        raise BadInputs(pointer, "the data set has no such column")
    return columns[name]


def _check_list(columns: Columns, name: str, length: int) -> ColumnSpec:
    """Return a column that must hold lists of ``length`` numbers.

    Raises:
        BadInputs: It does not.
    """
    spec = _known(columns, name, "/column")
    if spec.kind != "list":
        raise BadInputs("/column", "does not hold lists of numbers")
    if spec.length != length:
        raise BadInputs("/column", f"holds lists of {spec.length} numbers, not of {length}")
    return spec


def _check_categories(spec: ColumnSpec, column: OneHot, pointer: str) -> None:
    """Check that a column can hold each of its categories.

    Raises:
        BadInputs: It cannot.
    """
    stored = set()
    for i, category in enumerate(column.categories):
        try:
            stored.add(str(spec.check(category)))
        except WrongType as error:
            raise BadInputs(f"{pointer}/{i}", f"the column takes {error.expected}") from None
    if len(stored) < len(column.categories):
        raise BadInputs(pointer, "must differ from each other in the column's type")
