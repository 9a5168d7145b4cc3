"""Registers for data protection officers and authorities, as CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, fields
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from app.api import csv_lines, streams
from app.api.answers import plain
from app.api.dependencies import Auditor, Look
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.base import Time
from app.api.schemas.registers import FiguresOut, StatisticsOut
from app.api.schemas.requests import Regulation
from app.domain.errors import Refused
from app.domain.queries import registers, statistics
from app.domain.queries.registers import Period, ProcessingRecord, RequestRecord

Record = TypeVar("Record", RequestRecord, ProcessingRecord)

PART = 200
TABLE: dict[int | str, dict[str, Any]] = {
    200: {"description": "Comma-separated values.", "content": {"text/csv": {}}}
}

router = APIRouter(prefix="/v1", tags=["Audit"], route_class=ApiRoute)


@router.get(
    "/register.csv",
    response_class=StreamingResponse,
    responses=TABLE | problems(Refused),
)
def get_register(
    caller: Auditor,
    register: Annotated[
        Literal["requests", "processing"],
        Query(description="CCPA section 7101(b), or GDPR Art. 30."),
    ] = "requests",
    received_from: Annotated[Time | None, Query(description="Of requests.")] = None,
    received_before: Annotated[Time | None, Query(description="Of requests.")] = None,
    regulation: Annotated[Regulation | None, Query(description="Of requests.")] = None,
) -> StreamingResponse:
    """Export a register: no ids of samples or people, and no references are in it.

    `requests`: a line for each request, with its dates, nature, response and certificate.
    `processing`: a line for each model and dataset it was trained on; purpose, controller and
    transfers are left to be filled in.
    """
    tenant_id = caller.tenant_id
    period = Period(received_from, received_before, regulation)

    def of_requests(tx: Session, last: RequestRecord | None) -> Sequence[RequestRecord]:
        after = None if last is None else last.request_id
        return registers.requests(tx, tenant_id, period, after, PART)

    def of_processing(tx: Session, last: ProcessingRecord | None) -> Sequence[ProcessingRecord]:
        after = None if last is None else last.model_id
        return registers.processing(tx, tenant_id, after, PART)

    if register == "requests":
        pieces = _lines(RequestRecord, streams.items(of_requests))
    else:
        pieces = _lines(ProcessingRecord, streams.items(of_processing))
    headers = {"Content-Disposition": f'attachment; filename="register-{register}.csv"'}
    return StreamingResponse(
        streams.gathered(pieces), headers=headers, media_type=csv_lines.MEDIA_TYPE
    )


@router.get("/statistics", response_model=StatisticsOut)
def get_statistics(
    caller: Auditor,
    tx: Look,
    year: Annotated[int, Query(ge=2000, le=9998, description="In which they were received.")],
    regulation: Regulation | None = None,
) -> Response:
    """Count a year's requests, what became of them and in how many days (CCPA section 7102)."""
    found = statistics.of_year(tx, caller.tenant_id, year, regulation)
    figures = {kind: FiguresOut(**asdict(value)) for kind, value in found.items()}
    return plain(StatisticsOut(year=year, regulation=regulation, **figures))


def _lines(kind: type[Record], records: Iterator[Record]) -> Iterator[bytes]:
    yield csv_lines.line(field.name for field in fields(kind))
    for record in records:
        yield csv_lines.line(astuple(record))
