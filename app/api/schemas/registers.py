"""Figures of a year."""

from app.api.schemas.base import Output


class FiguresOut(Output):
    """What became of the requests of one kind; days run from when the person asked."""

    received: int
    in_whole: int
    in_part: int
    denied: int
    cancelled: int
    open: int
    mean_days: float | None
    median_days: float | None


class StatisticsOut(Output):
    """The requests received in one year."""

    year: int
    regulation: str | None
    deletion: FiguresOut
    correction: FiguresOut
