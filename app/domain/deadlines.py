"""When a request is due under a regulation.

GDPR Art. 12(3): one month, ending on the same-numbered day or, where the month has none, on
its last day (Regulation 1182/71 Art. 3(2)(c)); the roll to a working day would only make it
later and is left out. CCPA, Cal. Civ. Code 1798.130(a)(2): 45 days from receipt.
"""

from calendar import monthrange
from datetime import datetime, timedelta

CCPA_DAYS = 45
REGULATIONS = ("gdpr", "ccpa", "none")


def month_later(start: datetime) -> datetime:
    """Return the same day of the next month, or its last day.

    >>> from datetime import UTC
    >>> month_later(datetime(2028, 1, 31, 12, tzinfo=UTC)).date().isoformat()
    '2028-02-29'
    """
    year, month = divmod(start.year * 12 + start.month, 12)
    day = min(start.day, monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def due_at(
    regulation: str, received_at: datetime, submitted_at: datetime | None
) -> datetime | None:
    """Return the deadline, counted from the earlier of submission and receipt.

    Args:
        regulation: One of ``REGULATIONS``.
        received_at: When we had it.
        submitted_at: When the subject asked the controller.

    Returns:
        The deadline; None where the regulation sets none.
    """
    start = received_at if submitted_at is None else min(received_at, submitted_at)
    if regulation == "gdpr":
        return month_later(start)
    if regulation == "ccpa":
        return start + timedelta(days=CCPA_DAYS)
    return None
