"""What surrounds every request: an id, limits on bodies, a log line and counters.

Neither the log nor the counters ever see a query string, a body or a path as it was sent:
they get the route's template.
"""

import re
import time
from contextlib import suppress
from secrets import token_hex

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import metrics
from app.domain.errors import TooLarge
from app.infra.settings import settings

log = structlog.get_logger("lethe.api")

UPLOAD_PATH = re.compile(r"/v1/datasets/[^/]+/content|/v1/models/[^/]+/versions/[^/]+/weights")
REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MAX_DRAINED_BYTES = 4 << 30
MAX_DRAIN_SECONDS = 120
QUIET_PATHS = ("/healthz", "/readyz", "/metrics")


class Surroundings:
    """ASGI middleware; one ``_Exchange`` for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with structlog.contextvars.bound_contextvars(http_request_id=exchange.id):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                exchange.close()


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else token_hex(12)
        self._scope, self._receive, self._send = scope, receive, send
        self._began = time.perf_counter()
        self._status = 0
        self._received = 0
        is_upload = scope["method"] == "PUT" and UPLOAD_PATH.fullmatch(scope["path"])
        self._limit = None if is_upload else settings().max_body_bytes
        length = headers.get("content-length", "")
        self._length = int(length) if length.isdecimal() and len(length) < 19 else 0
        self._more_body = self._length > 0 or "transfer-encoding" in headers
        self._waits_for_leave = "expect" in headers

    async def receive(self) -> Message:
        """Pass a piece of the body on, as long as the body keeps its limit.

        Raises:
            TooLarge: It does not.
        """
        if self._limit is not None and max(self._length, self._received) > self._limit:
            raise TooLarge(f"more than {self._limit} bytes", limit=self._limit)
        message = await self._take()
        if self._limit is not None and self._received > self._limit:
            raise TooLarge(f"more than {self._limit} bytes", limit=self._limit)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the request's id; hear a refused body out first."""
        if message["type"] == "http.response.start":
            await self._drain()
            self._status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.id
        await self._send(message)

    def close(self) -> None:
        """Count and log."""
        route = getattr(self._scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - self._began
        metrics.count(self._scope["method"], route, self._status, seconds)
        if route not in QUIET_PATHS:
            log.info(
                "http.answered",
                method=self._scope["method"],
                route=route,
                status=self._status,
                seconds=round(seconds, 4),
            )

    async def _take(self) -> Message:
        message = await self._receive()
        self._waits_for_leave = False
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._more_body = message.get("more_body", False)
        else:
            self._more_body = False
        return message

    async def _drain(self) -> None:
        """Read and forget what is left of a body.

        A connection closed with unread bytes is reset, and the answer is lost with it.
        """
        if self._waits_for_leave:
            return
        with suppress(OSError), anyio.move_on_after(MAX_DRAIN_SECONDS):
            while self._more_body and self._received < MAX_DRAINED_BYTES:
                await self._take()
