"""What can go wrong in the domain; each class carries a stable code, none a status.

DomainError
├── NotFound            the thing does not exist, or belongs to another tenant
├── Conflict            an illegal move, or a state that does not offer what was asked
│   └── StaleVersion    the caller's If-Match is not the current ETag
├── Refused             the request is understood and refused: bad value, unknown name
├── Gone                it existed and was destroyed
├── Forbidden           the caller's key lacks a scope
├── Unauthenticated     no key, or an unknown, expired or revoked one
├── TooLarge            a body or file above its limit
├── UnsupportedFormat   the bytes are of a kind that is never accepted
└── FenceLost           a worker's lease was taken over; its work must not be recorded
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One field at fault: where (JSON Pointer), what kind, and a sentence without data."""

    pointer: str
    code: str
    detail: str


class DomainError(Exception):
    """Base of all; ``code`` is stable and listed in the documentation."""

    code = "error"
    title = "The service could not do this"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        **facts: int | str,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.code = code or self.code
        self.errors = tuple(errors)
        self.facts = facts


class NotFound(DomainError):
    """The thing does not exist, or belongs to another tenant."""

    code = "not-found"
    title = "There is no such thing"


class Conflict(DomainError):
    """The thing is in a state that does not allow this."""

    code = "illegal-state"
    title = "The current state does not allow this"


class StaleVersion(DomainError):
    """The ``If-Match`` sent is not the current entity tag."""

    code = "stale-etag"
    title = "The resource has changed since it was read"


class Refused(DomainError):
    """The request is well-formed and cannot be accepted as it stands."""

    code = "invalid-request"
    title = "The request cannot be accepted"


class Gone(DomainError):
    """It existed and was destroyed."""

    code = "withdrawn"
    title = "The weights were destroyed"


class Forbidden(DomainError):
    """The key lacks a scope."""

    code = "missing-scope"
    title = "The key does not allow this"


class Unauthenticated(DomainError):
    """No key, or an unknown, expired or revoked one."""

    code = "unauthenticated"
    title = "A valid API key is needed"


class TooLarge(DomainError):
    """A body or a file is above its limit."""

    code = "too-large"
    title = "The body is too large"


class UnsupportedFormat(DomainError):
    """Bytes of a kind that is never accepted, whatever their name says."""

    code = "unsupported-format"
    title = "This file format is not accepted"


class FenceLost(DomainError):
    """A worker's lease was taken over by another; its work is discarded."""

    code = "fence-lost"
    title = "The job belongs to another worker now"
