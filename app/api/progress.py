"""Server-sent events of a job's progress, resumable and closed when the job is done.

An event's id is ``<row version>-<progress number>``: it rises with every visible change, so
``Last-Event-ID`` says what the client has seen. Nothing is queued: a client that was away
gets the newest state, not a film of what it missed.
"""

import re
from collections.abc import AsyncIterator, Callable

import anyio
from fastapi import Request
from sqlalchemy.orm import Session

from app.api.answers import json_of
from app.api.schemas.jobs import JobOut
from app.api.transactions import read
from app.domain.jobs import Job

PAUSE_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 15.0
EVENT_ID = re.compile(r"(\d{1,9})-(\d{1,9})", re.ASCII)

Look = Callable[[Session], tuple[Job, JobOut]]


def number_of(job: Job) -> tuple[int, int]:
    """Return an event's number as it can be compared."""
    return job.row_version, job.progress_number


def seen(last_event_id: str | None) -> tuple[int, int]:
    """Return the number of the last event a client has seen, (0, 0) for none."""
    found = EVENT_ID.fullmatch(last_event_id or "")
    return (int(found[1]), int(found[2])) if found else (0, 0)


async def events(http_request: Request, look: Look, last: tuple[int, int]) -> AsyncIterator[bytes]:
    """Yield the job's document whenever it has changed, until it is done.

    Args:
        http_request: Given up when its client has gone.
        look: Reads the job and its document.
        last: Number of the last event that the client has seen.

    Yields:
        Events in the format of the HTML standard, section 9.2.
    """
    spoke_at = anyio.current_time()
    while True:
        job, document = await read(look)
        if number_of(job) > last:
            last = number_of(job)
            spoke_at = anyio.current_time()
            yield b"id: %d-%d\nevent: progress\ndata: %b\n\n" % (*last, json_of(document))
        if job.is_done or await http_request.is_disconnected():
            return
        if anyio.current_time() - spoke_at > KEEP_ALIVE_SECONDS:
            spoke_at = anyio.current_time()
            yield b": still here\n\n"
        await anyio.sleep(PAUSE_SECONDS)
