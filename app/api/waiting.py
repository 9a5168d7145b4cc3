"""Long polling: ``?wait=`` holds the answer until the thing is done, has changed, or time is up.

Waiting happens on the event loop; a thread is taken only for each look at the database.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import Query, Request, Response
from sqlalchemy.orm import Session

from app.api.transactions import read

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
MAX_WAIT_SECONDS = 30

Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for it to be done (or changed)."),
]


async def patiently(
    http_request: Request,
    wait: float,
    look: Callable[[Session], tuple[Response, bool]],
) -> Response:
    """Answer as soon as ``look`` says so, or after ``wait`` seconds.

    Args:
        http_request: Given up when its client has gone.
        wait: Most seconds to wait; 0 answers at once.
        look: Returns the answer as it would be now, and whether there is more to wait for.

    Returns:
        The newest answer.
    """
    deadline = anyio.current_time() + wait
    pause = FIRST_PAUSE_SECONDS
    while True:
        response, is_worth_waiting = await read(look)
        left = deadline - anyio.current_time()
        if not is_worth_waiting or left <= 0 or await http_request.is_disconnected():
            return response
        await anyio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
