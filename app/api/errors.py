"""From what went wrong to a status and a problem document (RFC 9457), in one table.

A class of the domain, of the object store or of the framework decides the status; the code
is the error's own. A problem never repeats what the client sent: pointers are cut where a
segment could be data, and messages are written here or by the domain.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException

from app.api.schemas.failures import TYPE_PREFIX
from app.domain import errors as domain
from app.infra.storage import errors as storage

log = structlog.get_logger("lethe.api")

MEDIA_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 100
RETRY_SECONDS = "2"
SPEAKABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .-]{0,99}")


class BadRequest(domain.DomainError):
    """The message itself cannot be read: its syntax, a header or a cursor."""

    code = "malformed-request"
    title = "The request cannot be read"


class UnsupportedMediaType(domain.DomainError):
    """The body comes in a media type or encoding that this route does not take."""

    code = "unsupported-media-type"
    title = "The body's media type is not accepted here"


class RangeNotSatisfiable(domain.DomainError):
    """The range of bytes asked for lies outside the representation."""

    code = "range-not-satisfiable"
    title = "The range lies outside the file"


class DigestWrong(domain.Refused):
    """The bytes that arrived are not those the client announced."""

    code = "digest-mismatch"
    title = "The bytes received do not have the announced digest"


class KeyReused(domain.Refused):
    """An idempotency key came with another body than at first."""

    code = "idempotency-key-reused"
    title = "The idempotency key was used with another request"


class KeyInFlight(domain.Conflict):
    """The first request with this idempotency key has not been answered yet."""

    code = "idempotency-key-in-flight"
    title = "A request with this idempotency key is being answered"


class Unavailable(domain.DomainError):
    """The database or the object store does not answer; trying again may help."""

    code = "unavailable"
    title = "A part of the service does not answer"


class OutOfRoom(domain.DomainError):
    """The object store is full."""

    code = "out-of-room"
    title = "The object store is full"


STATUSES: dict[type[domain.DomainError], int] = {
    BadRequest: 400,
    domain.Unauthenticated: 401,
    domain.Forbidden: 403,
    domain.NotFound: 404,
    domain.Conflict: 409,
    domain.FenceLost: 409,
    domain.Gone: 410,
    domain.StaleVersion: 412,
    domain.TooLarge: 413,
    domain.UnsupportedFormat: 415,
    UnsupportedMediaType: 415,
    RangeNotSatisfiable: 416,
    domain.Refused: 422,
    Unavailable: 503,
    OutOfRoom: 507,
}
"""The one table: a class, or the nearest base of one, to its status."""

FRAMEWORK_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}


@dataclass(frozen=True)
class Problem:
    """One problem document and the headers that go with it."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[dict[str, str]] = ()
    facts: dict[str, int | str] | None = None
    headers: dict[str, str] | None = None

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        document: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors:
            document["errors"] = list(self.errors)
        return document | {k: v for k, v in (self.facts or {}).items() if k not in document}

    def answer(self) -> JSONResponse:
        """Return the response."""
        return JSONResponse(
            self.document(), self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def status_of(kind: type[domain.DomainError]) -> int:
    """Return the status of a class: its own, or that of the nearest base in the table."""
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), 500)


def problem_of(error: domain.DomainError) -> Problem:
    """Turn a domain error into its problem."""
    status = status_of(type(error))
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503 or isinstance(error, KeyInFlight):
        headers["Retry-After"] = RETRY_SECONDS
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.facts.get('size', 0)}"
    fields = [
        {"pointer": field.pointer, "code": field.code, "detail": field.detail}
        for field in error.errors[:MAX_FIELD_ERRORS]
    ]
    return Problem(status, error.code, error.title, error.detail, fields, error.facts, headers)


def translated(error: Exception) -> domain.DomainError | None:
    """Return the domain error that an error of the store or the database amounts to."""
    match error:
        case storage.TooLarge():
            return domain.TooLarge(f"more than {error.limit} bytes", limit=error.limit)
        case storage.DigestMismatch():
            return DigestWrong()
        case storage.SizeMismatch():
            return BadRequest("the body does not have the announced length", code="wrong-length")
        case storage.StoreFull():
            return OutOfRoom()
        case storage.StorageError():
            return Unavailable("the object store does not answer")
        case StaleDataError():
            return domain.Conflict("it was changed at the same time", code="concurrent-change")
        case IntegrityError():
            return domain.Conflict("it was changed at the same time", code="concurrent-change")
        case DBAPIError() if error.connection_invalidated or _is_busy(error):
            return Unavailable("the database does not answer")
    return None


def _is_busy(error: DBAPIError) -> bool:
    text = str(error.orig)
    return any(sign in text for sign in ("locked", "connection", "deadlock", "disk is full"))


def problems(*kinds: type[domain.DomainError]) -> dict[int | str, dict[str, Any]]:
    """Document in OpenAPI that a route can answer with these problems."""
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(status_of(kind), []).append((kind.__doc__ or "").split("\n")[0])
    return {
        status: {
            "description": " ".join(texts),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, texts in by_status.items()
    }


def pointer_of(path: Iterable[str | int]) -> str:
    """Write a path as JSON Pointer (RFC 6901), cut before a segment that could be data.

    >>> pointer_of(["corrections", 0, "features", "a/b", "x"])
    '/corrections/0/features'
    """
    pointer = ""
    for segment in path:
        if isinstance(segment, str) and not SPEAKABLE.fullmatch(segment):
            break
        pointer += f"/{segment}"
    return pointer


def field_errors(error: RequestValidationError) -> list[dict[str, str]]:
    """List the fields at fault; parameters outside the body are named, not pointed to."""
    listed = []
    for fault in error.errors()[:MAX_FIELD_ERRORS]:
        place, *path = fault["loc"] or ("body",)
        code = str(fault["type"]).replace("_", "-")
        entry = {"pointer": "", "code": code, "detail": str(fault["msg"])}
        if place == "body":
            entry["pointer"] = pointer_of(path)
        else:
            entry |= {"parameter": str(path[0]) if path else "", "in": str(place)}
        listed.append(entry)
    return listed


def install(app: FastAPI) -> None:
    """Answer everything that can go wrong with a problem document."""

    @app.exception_handler(domain.DomainError)
    async def domain_error(request: Request, error: domain.DomainError) -> JSONResponse:
        return problem_of(error).answer()

    @app.exception_handler(storage.StorageError)
    @app.exception_handler(SQLAlchemyError)
    async def door_error(request: Request, error: Exception) -> JSONResponse:
        known = translated(error)
        if known is None:
            raise error
        log.warning("door.failed", kind=type(error).__name__, code=known.code)
        return problem_of(known).answer()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return Problem(
            422,
            domain.Refused.code,
            domain.Refused.title,
            "one or more fields are not as they should be",
            field_errors(error),
        ).answer()

    @app.exception_handler(HTTPException)
    async def framework_error(request: Request, error: HTTPException) -> JSONResponse:
        code = FRAMEWORK_CODES.get(error.status_code, "malformed-request")
        title = HTTPStatus(error.status_code).phrase
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(methods_of(app, request.url.path))
        return Problem(error.status_code, code, title, title, headers=headers).answer()

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("http.failed", kind=type(error).__name__)
        return Problem(
            500, "internal-error", "The service failed", "this is a bug of the service"
        ).answer()


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Return every method that some route of the path answers, sorted."""
    from fastapi.routing import iter_route_contexts

    methods: set[str] = set()
    for context in iter_route_contexts(app.routes):
        regex = getattr(context, "path_regex", None)
        if regex is not None and regex.match(path):
            methods |= set(context.methods or ())
    return sorted(methods)
