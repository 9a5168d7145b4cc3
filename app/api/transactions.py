"""The transactions of routes; the one place of the API that commits.

Writers of one process wait for their turn on the event loop, in order, and hold no thread
while they wait. SQLite's own busy handler is not fair, and threads that wait for its lock
would be missing when the holder of the lock needs one.
"""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Annotated, TypeVar, TypeVarTuple

from anyio import CancelScope, CapacityLimiter, to_thread
from fastapi import Depends
from sqlalchemy.orm import Session

from app.infra import db

T = TypeVar("T")
Args = TypeVarTuple("Args")
WRITERS_ON_A_SERVER = 20


@lru_cache(maxsize=1)
def _turns() -> CapacityLimiter:
    return CapacityLimiter(1 if db.engine().dialect.name == "sqlite" else WRITERS_ON_A_SERVER)


async def in_own_thread(act: Callable[[*Args], T], *args: *Args) -> T:
    """Run a blocking call in a thread that no other request can keep it waiting for."""
    return await to_thread.run_sync(act, *args, limiter=CapacityLimiter(1))


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    """Wait for this request's turn to write."""
    async with _turns():
        yield


async def write(act: Callable[[Session], T]) -> T:
    """Run one action in a transaction of its own and commit it."""

    def run() -> T:
        with db.writing() as tx:
            return act(tx)

    async with turn():
        return await in_own_thread(run)


async def read(act: Callable[[Session], T]) -> T:
    """Run one query in a transaction that only reads."""

    def run() -> T:
        with db.reading() as tx:
            return act(tx)

    return await to_thread.run_sync(run)


async def begin() -> AsyncIterator[Session]:
    """Open a route's writing transaction; commit before the answer leaves."""
    async with turn():
        opening = db.writing()
        tx = opening.__enter__()  # the database is not asked before the first statement
        try:
            yield tx
        except BaseException:
            with CancelScope(shield=True):
                await in_own_thread(partial(opening.__exit__, *sys.exc_info()))
            raise
        with CancelScope(shield=True):
            await in_own_thread(opening.__exit__, None, None, None)


async def look() -> AsyncIterator[Session]:
    """Open a route's reading transaction."""
    opening = db.reading()
    tx = opening.__enter__()
    try:
        yield tx
    finally:
        with CancelScope(shield=True):
            await in_own_thread(opening.__exit__, None, None, None)


Tx = Annotated[Session, Depends(begin, scope="function")]
"""A writing transaction, committed before the answer leaves; nobody else commits."""
Look = Annotated[Session, Depends(look, scope="function")]
"""A transaction that only reads."""
