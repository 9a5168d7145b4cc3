"""Reading the fields of a JSON object, with a pointer to what is wrong."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from app.infra.rows.errors import BadInputs

_REQUIRED = object()


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object.

    Attributes:
        pointer: JSON Pointer to the object.
        values: Its fields.
    """

    pointer: str
    values: dict[str, object]

    @classmethod
    def of(cls, pointer: str, value: object, known: Collection[str]) -> Self:
        """Take a decoded JSON value that must be an object with none but ``known`` fields.

        Raises:
            BadInputs: It is not.
        """
        if not isinstance(value, dict):
            raise BadInputs(pointer, "must be an object")
        unknown = [name for name in value if name not in known]
        if unknown:
            raise BadInputs(pointer, f"has {len(unknown)} unknown fields; {_listed(known)}")
        return cls(pointer, value)

    def at(self, name: str) -> str:
        """Return the pointer to a field."""
        return f"{self.pointer}/{name}"

    def text(self, name: str) -> str:
        """Return a required string that is not empty.

        Raises:
            BadInputs: It is missing or something else.
        """
        value = self._get(name)
        if not isinstance(value, str) or not value:
            raise BadInputs(self.at(name), "must be a string that is not empty")
        return value

    def choice(self, name: str, options: Sequence[str | None], default: object = _REQUIRED) -> str:
        """Return one of ``options``; None, where it is an option, as the empty string.

        Raises:
            BadInputs: It is missing without a default, or something else.
        """
        value = self._get(name, default)
        if value not in options or not isinstance(value, str | None):
            raise BadInputs(self.at(name), f"unknown; {_listed(options)}")
        return value or ""

    def integer(self, name: str, least: int, most: int) -> int:
        """Return a required integer between bounds.

        Raises:
            BadInputs: It is missing or something else.
        """
        return as_integer(self.at(name), self._get(name), least, most)

    def number(self, name: str, default: object = _REQUIRED) -> float:
        """Return a finite number.

        Raises:
            BadInputs: It is missing without a default, or something else.
        """
        return as_number(self.at(name), self._get(name, default))

    def items(self, name: str, least: int, most: int, default: object = _REQUIRED) -> list[object]:
        """Return an array of ``least`` to ``most`` items.

        Raises:
            BadInputs: It is missing without a default, or something else.
        """
        value = self._get(name, default)
        if not isinstance(value, list):
            raise BadInputs(self.at(name), "must be an array")
        if not least <= len(value) <= most:
            wanted = f"{least}" if least == most else f"{least} to {most}"
            raise BadInputs(self.at(name), f"must have {wanted} items")
        return value

    def numbers(self, name: str, count: int, default: float) -> tuple[float, ...]:
        """Return an array of ``count`` finite numbers.

        Raises:
            BadInputs: It is something else.
        """
        values = self.items(name, count, count, [default] * count)
        return tuple(as_number(f"{self.at(name)}/{i}", value) for i, value in enumerate(values))

    def _get(self, name: str, default: object = _REQUIRED) -> object:
        """Return a field, or its default.

        Raises:
            BadInputs: It is missing and has no default.
        """
        value = self.values.get(name, default)
        if value is _REQUIRED:
            raise BadInputs(self.at(name), "is missing")
        return value


def as_number(pointer: str, value: object) -> float:
    """Return a decoded JSON value that must be a finite number.

    Raises:
        BadInputs: It is something else.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
            if math.isfinite(number):
                return number
    except OverflowError:
        pass
    raise BadInputs(pointer, "must be a finite number")


def as_integer(pointer: str, value: object, least: int, most: int) -> int:
    """Return a decoded JSON value that must be an integer between bounds.

    Raises:
        BadInputs: It is something else.
    """
    if type(value) is int and least <= value <= most:
        return value
    raise BadInputs(pointer, f"must be an integer from {least} to {most}")


def _listed(names: Collection[str | None]) -> str:
    """Say what is known."""
    return "known: " + ", ".join("null" if name is None else name for name in names)
