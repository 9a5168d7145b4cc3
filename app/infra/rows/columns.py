"""What a column holds and which columns play a role."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np

from app.infra.rows.errors import WrongType

Cell: TypeAlias = int | float | str | list[int | float] | None
Kind: TypeAlias = Literal["number", "list", "string"]

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
LONGEST_STRING = 2**31 - 1


@dataclass(frozen=True)
class ColumnSpec:
    """Name, type and width of one column.

    Attributes:
        name: The name it has in the data.
        kind: ``number`` and ``string`` hold one value per row, ``list`` a fixed count of numbers.
        dtype: Type of the numbers: an integer or float type of numpy, or ``bool``
            (kept as ``uint8``); ``utf8`` for strings.
        length: Numbers per row of a ``list``; None for the other kinds.
        nullable: Whether a cell may be null. A list is null as a whole or not at all.
    """

    name: str
    kind: Kind
    dtype: str
    length: int | None = None
    nullable: bool = True

    def __post_init__(self) -> None:
        """Refuse combinations that no column has.

        Raises:
            ValueError: Kind, type and length do not go together.
        """
        if self.kind == "string":
            is_sound = self.dtype == "utf8" and self.length is None
        else:
            is_sound = self.dtype in (*INTEGERS, *FLOATS, "bool")
            is_sound = is_sound and (self.length is None) == (self.kind == "number")
        if not is_sound or (self.length is not None and self.length < 1):
            raise ValueError(f"{self.kind} of {self.dtype}, length {self.length}, is no column")

    @property
    def storage(self) -> np.dtype[Any]:
        """Little-endian type of one number as it is stored and read."""
        # The numpy scalar type depends on the column: Any.
        return np.dtype("uint8" if self.dtype == "bool" else self.dtype).newbyteorder("<")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one cell: ``()`` or ``(length,)``."""
        return () if self.length is None else (self.length,)

    def check(self, value: object) -> Cell:
        """Return ``value`` as the column would give it back after storing it.

        The result is JSON: numbers are rounded to the column's type, booleans of a ``bool``
        column are 0 or 1.

        Args:
            value: A decoded JSON value.

        Returns:
            The canonical value; equal cells have equal canonical values.

        Raises:
            WrongType: The value is of another type, out of range, not finite, of another
                length, or null in a column without nulls.
        """
        if value is None:
            if self.nullable:
                return None
            raise WrongType(self.name, f"{self.describe()}, never null")
        if self.kind == "string":
            if isinstance(value, str) and _is_storable(value):
                return value
        elif self.kind == "number":
            number = self._number(value)
            if number is not None:
                return number
        elif isinstance(value, list) and len(value) == self.length:
            numbers = [number for item in value if (number := self._number(item)) is not None]
            if len(numbers) == self.length:
                return numbers
        raise WrongType(self.name, self.describe())

    def describe(self) -> str:
        """Say in words what a cell is, for error messages."""
        if self.kind == "string":
            return "a string"
        if self.dtype == "bool":
            one = "true or false"
        elif self.dtype in FLOATS:
            one = f"a finite number ({self.dtype})"
        else:
            bounds = np.iinfo(self.dtype)
            one = f"an integer from {bounds.min} to {bounds.max}"
        return one if self.length is None else f"a list of {self.length}, each {one}"

    def _number(self, value: object) -> int | float | None:
        """Round one number to the column's type; None when it does not fit."""
        if self.dtype == "bool":
            is_truth = isinstance(value, bool) or (type(value) is int and value in (0, 1))
            return int(value) if is_truth and isinstance(value, int) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if self.dtype in FLOATS:
            try:
                with np.errstate(over="ignore"):
                    rounded = float(self.storage.type(float(value)))
            except OverflowError:
                return None
            return rounded if math.isfinite(rounded) else None
        bounds = np.iinfo(self.dtype)
        return value if isinstance(value, int) and bounds.min <= value <= bounds.max else None

    def to_json(self) -> dict[str, str | int | bool | None]:
        """Return the column as a JSON object."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dtype": self.dtype,
            "length": self.length,
            "nullable": self.nullable,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(**document)


@dataclass(frozen=True)
class Roles:
    """Names of the columns that say what a row is.

    Attributes:
        id: Unique, never null.
        subject: The person the row is about; null where nobody.
        split: Name of the part (training, held-out, ...) the row belongs to.
        label: What a model is to predict.
    """

    id: str
    subject: str | None = None
    split: str | None = None
    label: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """Return the roles as a JSON object."""
        return {
            "id": self.id,
            "subject": self.subject,
            "split": self.split,
            "label": self.label,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote."""
        return cls(**document)


def _is_storable(text: str) -> bool:
    """Say whether ``text`` is Unicode (no lone surrogates) of a length that can be stored."""
    try:
        return len(text.encode()) <= LONGEST_STRING
    except UnicodeEncodeError:
        return False
