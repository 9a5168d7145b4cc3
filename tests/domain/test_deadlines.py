"""Legal clocks at the ends of months and in leap years."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.deadlines import due_at, month_later


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((2026, 1, 31), (2026, 2, 28)),
        ((2028, 1, 31), (2028, 2, 29)),
        ((2028, 1, 29), (2028, 2, 29)),
        ((2026, 1, 29), (2026, 2, 28)),
        ((2026, 3, 31), (2026, 4, 30)),
        ((2026, 12, 31), (2027, 1, 31)),
        ((2026, 11, 30), (2026, 12, 30)),
        ((2100, 1, 30), (2100, 2, 28)),
    ],
)
def test_a_month_ends_on_the_same_day_or_the_last(
    start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    assert month_later(datetime(*start, 23, 59, tzinfo=UTC)) == datetime(*end, 23, 59, tzinfo=UTC)


@settings(deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - as Hypothesis wants its bounds
def test_a_month_has_28_to_31_days_and_reaches_the_next_one(start: datetime) -> None:
    end = month_later(start)
    assert timedelta(28) <= end - start <= timedelta(31)
    assert (end.year * 12 + end.month) - (start.year * 12 + start.month) == 1


def test_the_clock_starts_at_the_earlier_of_submission_and_receipt() -> None:
    received = datetime(2026, 3, 10, tzinfo=UTC)
    asked = datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))
    assert due_at("gdpr", received, asked) == month_later(asked)
    assert due_at("gdpr", received, received + timedelta(days=3)) == month_later(received)
    assert due_at("ccpa", received, None) == received + timedelta(days=45)
    assert due_at("none", received, asked) is None
