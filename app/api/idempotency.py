"""One effect per idempotency key, however often a client repeats itself.

The record is written in the transaction of the effect, so there is never one without the
other. On PostgreSQL an advisory lock held by the transaction tells a repetition that comes
too early; on SQLite writers wait for each other, so it waits and is replayed.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.api.auth import Client, caller_of
from app.api.errors import BadRequest, KeyInFlight, KeyReused
from app.api.transactions import Tx, in_own_thread
from app.domain.actions import idempotency

MAX_KEY_CHARACTERS = 255
STORED_HEADERS = ("content-type", "etag", "location", "retry-after")


class Replay(Exception):
    """The request was answered before; carries that answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__("answered before")
        self.answer = answer


@dataclass(frozen=True)
class Keeper:
    """Knows where an answer is kept: below tenant, principal, route and key."""

    tx: Session
    tenant_id: str
    principal: str
    route: str
    key: str
    fingerprint: bytes

    def recall(self) -> Response | None:
        """Return the stored answer, or None when the key is new.

        Raises:
            KeyReused: The key came with another request.
        """
        self._lock()
        record = idempotency.recall(self.tx, self.tenant_id, self.principal, self.route, self.key)
        if record is None:
            return None
        if record.fingerprint != self.fingerprint:
            raise KeyReused
        headers = {**record.headers, "Idempotency-Replayed": "true"}
        return Response(idempotency.body_of(record), record.status, headers=headers)

    async def keep(self, response: Response) -> None:
        """Add the answer to the transaction of the effect."""
        await in_own_thread(self._remember, response)

    def _remember(self, response: Response) -> None:
        """Write the record.

        Raises:
            KeyInFlight: Another request with the key was a moment quicker.
            IntegrityError: Something else does not fit.
        """
        try:
            idempotency.remember(
                self.tx,
                self.tenant_id,
                self.principal,
                self.route,
                self.key,
                fingerprint=self.fingerprint,
                status=response.status_code,
                headers={k: v for k, v in response.headers.items() if k in STORED_HEADERS},
                body=bytes(response.body),
            )
            self.tx.flush()
        except IntegrityError as error:
            if "unique" not in str(error.orig).lower():
                raise
            raise KeyInFlight from None

    def _lock(self) -> None:
        """Take the key for this transaction.

        Raises:
            KeyInFlight: Another transaction has it.
        """
        if self.tx.get_bind().dialect.name != "postgresql":
            return
        name = repr((self.tenant_id, self.principal, self.route, self.key))
        digest = hashlib.sha256(name.encode()).digest()
        number = int.from_bytes(digest[:8], "big", signed=True)
        if not self.tx.scalar(select(func.pg_try_advisory_xact_lock(number))):
            raise KeyInFlight


async def once(
    http_request: Request,
    client: Annotated[Client, Depends(caller_of)],
    tx: Tx,
    idempotency_key: Annotated[
        str | None,
        Header(description=f"Any text of 1 to {MAX_KEY_CHARACTERS} characters, kept 30 days."),
    ] = None,
) -> Session:
    """Let the effect happen unless this key was answered before.

    Returns:
        The transaction that holds the effect and the record of its answer.

    Raises:
        BadRequest: The key is empty or too long.
        Replay: It was answered; the route turns this into the stored answer.
    """
    if idempotency_key is None:
        return tx
    if not 1 <= len(idempotency_key) <= MAX_KEY_CHARACTERS:
        raise BadRequest(
            f"an idempotency key has 1 to {MAX_KEY_CHARACTERS} characters",
            code="malformed-idempotency-key",
        )
    body = await http_request.body()
    # The template names the route; which resource was meant is part of the request.
    request = http_request.url.path.encode() + b"\n" + hashlib.sha256(body).digest()
    keeper = Keeper(
        tx,
        client.tenant_id,
        client.key_id,
        f"{http_request.method} {http_request.scope['route'].path}",
        idempotency_key,
        idempotency.fingerprint_of(client.tenant_id, request),
    )
    answer = await in_own_thread(keeper.recall)
    if answer is not None:
        raise Replay(answer)
    http_request.state.keeper = keeper
    return tx


Once = Annotated[Session, Depends(once)]
"""The transaction of a creating POST: ``Tx`` that honours ``Idempotency-Key``."""
