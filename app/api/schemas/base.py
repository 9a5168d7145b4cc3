"""What all documents share: strict input, exact output, times, names, lists and problems."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from app.infra import clock

T = TypeVar("T")

RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
MAX_TEXT = 1000


class Input(BaseModel):
    """What a client sends: unknown fields and near misses of a type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Output(BaseModel):
    """What the service answers."""

    model_config = ConfigDict(extra="forbid")


class Listing(Output, Generic[T]):
    """One page of a list, newest items first unless said otherwise."""

    items: list[T]
    next_cursor: str | None = Field(
        default=None, description="Give it back as `cursor` for the next page; null at the end."
    )


class FieldProblem(BaseModel):
    """One field at fault."""

    model_config = ConfigDict(extra="allow")

    pointer: str = Field(description="JSON Pointer into the body; empty for other parameters.")
    code: str
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457). Codes are listed in docs/problems.md."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem] = []


def parse_time(value: object) -> datetime:
    """Read an RFC 3339 time.

    Raises:
        ValueError: It is none, or lies outside the years 1 to 9999 in UTC.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not RFC3339.fullmatch(value):
        raise ValueError("a time such as 2026-11-20T09:00:00Z is expected")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    Field(strict=False),
    PlainSerializer(clock.rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An RFC 3339 time with a zone; answers carry UTC with ``Z``."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


def id_of(prefix: str) -> Any:
    """Describe an id of the given kind (for query parameters and bodies)."""
    return Field(pattern=rf"^{prefix}_[0-9a-z]{{26}}$", max_length=40)


def _cell(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list) and {type(item) for item in value} <= {int, float, bool}:
        return value
    raise ValueError("a number, a string, a boolean, null or a list of numbers is expected")


def _scalar(value: object) -> object:
    if isinstance(value, bool | int | float) or (
        isinstance(value, str) and 0 < len(value) <= MAX_TEXT
    ):
        return value
    raise ValueError("a number or a string is expected")


SCALAR_SCHEMA = [
    {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    {"type": "number"},
    {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
    {"type": "boolean"},
]
Cell = Annotated[
    Any,
    AfterValidator(_cell),
    WithJsonSchema({
        "anyOf": [
            *SCALAR_SCHEMA[:2],
            {"type": "string", "maxLength": 100_000},
            {"type": "boolean"},
            {"type": "null"},
            {"type": "array", "items": {"type": "number"}},
        ]
    }),
]
"""One raw value of a row, as JSON."""
Scalar = Annotated[Any, AfterValidator(_scalar), WithJsonSchema({"anyOf": SCALAR_SCHEMA})]
"""One label."""
