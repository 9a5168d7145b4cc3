"""The log of a tenant as one file that can be kept and checked."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.api import streams
from app.api.dependencies import Auditor
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.domain.errors import NotFound, Refused
from app.domain.queries import exports
from app.domain.queries.exports import ExportedLeaf
from app.infra import db

LARGEST_SIZE = 2**53 - 1
PART = 500
MEDIA_TYPE = "application/x-ndjson"
LINES: dict[int | str, dict[str, Any]] = {
    200: {"description": "One JSON document a line.", "content": {MEDIA_TYPE: {}}}
}

router = APIRouter(prefix="/v1/audit", tags=["Audit"], route_class=ApiRoute)


@router.get(
    "/entries.ndjson",
    response_class=StreamingResponse,
    responses=LINES | problems(NotFound, Refused),
)
def export_entries(
    caller: Auditor,
    start: Annotated[
        int, Query(alias="from", ge=0, le=LARGEST_SIZE, description="Index of the first leaf.")
    ] = 0,
    stop: Annotated[
        int | None,
        Query(alias="to", ge=0, le=LARGEST_SIZE, description="Index behind the last leaf."),
    ] = None,
) -> StreamingResponse:
    """Export the tenant's sealed entries, in the order of the log.

    The first line is `{"checkpoint", "from", "to"}` with the signed note that is over all of
    them, then `{"index", "leaf_hash", "leaf"}` for each, and last `{"entries": <how many>}`: a
    file without that line is not whole.
    """
    with db.reading() as tx:
        wanted = exports.extent(tx, start, stop)

    def part(tx: Session, last: ExportedLeaf | None) -> Sequence[ExportedLeaf]:
        begin = wanted.start if last is None else last.index + 1
        return exports.leaves(tx, caller.tenant_id, begin, wanted.stop, PART)

    leaves = streams.items(part)
    headers = {"Content-Disposition": 'attachment; filename="entries.ndjson"'}
    pieces = streams.gathered(_lines(wanted, leaves))
    return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPE)


def _lines(wanted: exports.Extent, leaves: Iterator[ExportedLeaf]) -> Iterator[bytes]:
    head = {"checkpoint": wanted.note.decode(), "from": wanted.start, "to": wanted.stop}
    yield json.dumps(head).encode() + b"\n"
    count = 0
    for item in leaves:
        count += 1
        # The leaf is canonical JSON on one line: written as it was hashed.
        yield b'{"index":%d,"leaf_hash":"%s","leaf":%s}\n' % (
            item.index, item.leaf_hash.hex().encode(), item.leaf,
        )  # fmt: skip
    yield b'{"entries":%d}\n' % count
