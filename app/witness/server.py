"""The witness over HTTP: ``POST /add-checkpoint``, ``GET /<digest>/checkpoint``, ``GET /healthz``.

As C2SP tlog-witness 1.0.0 says; submission and monitoring prefix are the same. Nobody has to
authenticate: only the log can sign what is cosigned, and only once for each size.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import (
    BadConsistency,
    BadSignature,
    Fork,
    LedgerError,
    Malformed,
    OtherSize,
    UnknownKey,
    UnknownLog,
)
from app.ledger.witnessing import LARGEST_SUBMISSION, Submission
from app.witness.desk import Desk

Message = MutableMapping[str, Any]  # Any: ASGI's own definition
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"
ADD = "/add-checkpoint"
MONITORED = re.compile(r"/([0-9a-f]{64})/checkpoint")
PATIENCE_SECONDS = 10.0
STATUSES: dict[type[LedgerError], int] = {
    UnknownLog: 404,
    UnknownKey: 403,
    BadSignature: 403,
    OtherSize: 409,
    BadConsistency: 422,
    Malformed: 400,
}

log = structlog.get_logger("lethe.witness")


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes
    media_type: str = TEXT
    allow: str | None = None


class TooLarge(Exception):
    """The body has more bytes than any submission."""


class ClientGone(Exception):
    """The connection ended before the body did."""


@dataclass(frozen=True)
class Server:
    """The ASGI application of one witness.

    Attributes:
        desk: The witness.
    """

    desk: Desk

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope["method"], scope["path"], receive)
        except Exception as error:
            # Not cosigning is always safe, and the cause stays with the operator.
            log.exception("witness.failed", error=type(error).__name__)
            answer = Answer(500, b"the witness failed\n")
        headers = [(b"content-type", answer.media_type.encode()), (b"cache-control", b"no-store")]
        headers.append((b"content-length", str(len(answer.body)).encode()))
        if answer.allow is not None:
            headers.append((b"allow", answer.allow.encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, method: str, path: str, receive: Receive) -> Answer:
        monitored = MONITORED.fullmatch(path)
        if path == ADD:
            if method != "POST":
                return Answer(405, b"this takes POST\n", allow="POST")
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    body = await _body(receive)
            except TooLarge:
                return Answer(413, b"no submission is that large\n")
            except (TimeoutError, ClientGone):
                return Answer(408, b"the body did not come in time\n")
            return await asyncio.to_thread(self.add_checkpoint, body)
        if monitored is None and path != "/healthz":
            return Answer(404, b"there is no such path\n")
        if method != "GET":
            return Answer(405, b"this takes GET\n", allow="GET")
        if monitored is None:
            return Answer(200, b"ok\n")
        return await asyncio.to_thread(self.show_checkpoint, monitored[1])

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign a checkpoint, or say why not."""
        try:
            submission = Submission.parse(body)
            line = self.desk.cosign(submission)
        except Fork:
            # The log has signed both: this line is the proof that it shows different trees.
            log.critical("log.forked", note=bytes(submission.note).decode())
            return Answer(409, f"{submission.old_size}\n".encode(), SIZE)
        except LedgerError as error:
            return _refusal(error)
        checkpoint = Checkpoint.parse(submission.note.text)
        log.info("checkpoint.cosigned", origin=checkpoint.origin, size=checkpoint.size)
        return Answer(200, str(line).encode())

    def show_checkpoint(self, digest: str) -> Answer:
        """Show the checkpoint cosigned last of the log whose origin has this SHA-256."""
        note = self.desk.records.named(digest).read()
        if note is None:
            return Answer(404, b"no checkpoint of this log was cosigned\n")
        return Answer(200, bytes(note))


def _refusal(error: LedgerError) -> Answer:
    status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
    if isinstance(error, OtherSize):
        return Answer(status, f"{error.known}\n".encode(), SIZE)
    return Answer(status, f"{type(error).__name__}: {error}\n".encode())


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST_SUBMISSION:
            raise TooLarge
    return body
