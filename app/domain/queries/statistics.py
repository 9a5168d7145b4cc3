"""A year's figures, as Cal. Code Regs. tit. 11, section 7102(a) wants them published.

Of the requests received in a calendar year (UTC), by kind: how many there were, what became of
them, and in how many days they were answered, on average and in the median.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, median

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.requests import Request

DAY_SECONDS = 86400.0
CHUNK = 5000
COMPLIED = ("fulfilled", "partially_fulfilled", "nothing_found")


@dataclass(frozen=True)
class Figures:
    """Of one kind of request.

    Attributes:
        received: How many were received.
        in_whole: How many were complied with in whole, those among them that named no data held.
        in_part: How many in part.
        denied: How many were denied.
        cancelled: How many the requester took back.
        open: How many wait.
        mean_days: From the day the person asked, or else of receipt, to the answer, for all that
            were answered; None if none was.
        median_days: The same, of the one in the middle.
    """

    received: int
    in_whole: int
    in_part: int
    denied: int
    cancelled: int
    open: int
    mean_days: float | None
    median_days: float | None


def of_year(
    tx: Session, tenant_id: str, year: int, regulation: str | None = None
) -> Mapping[str, Figures]:
    """Return the figures of a year's deletions and corrections.

    Args:
        tx: The transaction.
        tenant_id: Whose requests.
        year: In which they were received.
        regulation: Only under this one.

    Returns:
        Figures by kind.
    """
    wanted = [
        Request.tenant_id == tenant_id,
        Request.received_at >= datetime(year, 1, 1, tzinfo=UTC),
        Request.received_at < datetime(year + 1, 1, 1, tzinfo=UTC),
    ]
    if regulation is not None:
        wanted.append(Request.regulation == regulation)
    states: dict[str, Counter[str]] = defaultdict(Counter)
    counted = select(Request.kind, Request.state, func.count()).where(*wanted)
    for kind, state, count in tx.execute(counted.group_by(Request.kind, Request.state)):
        states[kind][state] = count
    days: dict[str, array[float]] = defaultdict(lambda: array("d"))
    answered = select(
        Request.kind, Request.received_at, Request.submitted_at, Request.completed_at
    ).where(*wanted, Request.state.in_((*COMPLIED, "rejected")))
    for kind, received, submitted, completed in tx.execute(
        answered.execution_options(yield_per=CHUNK)
    ):
        if completed is not None:
            start = min(received, submitted or received)
            days[kind].append((completed - start).total_seconds() / DAY_SECONDS)
    return {kind: _figures(states[kind], days[kind]) for kind in ("deletion", "correction")}


def _figures(states: Counter[str], days: "array[float]") -> Figures:
    in_whole = states["fulfilled"] + states["nothing_found"]
    in_part, denied = states["partially_fulfilled"], states["rejected"]
    received, cancelled = states.total(), states["cancelled"]
    return Figures(
        received=received,
        in_whole=in_whole,
        in_part=in_part,
        denied=denied,
        cancelled=cancelled,
        open=received - in_whole - in_part - denied - cancelled,
        mean_days=fmean(days) if days else None,
        median_days=median(days) if days else None,
    )
