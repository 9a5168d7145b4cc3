"""Figures for Prometheus: of this process as it runs, of the service when asked.

No label comes from a client: routes are templates, states are ours.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.api.log_figures import LogFigures
from app.domain import catalog, jobs, requests
from app.infra import clock

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")

registry = CollectorRegistry()
answered = Counter(
    "lethe_http_requests",
    "Requests answered.",
    ("method", "route", "status"),
    registry=registry,
)
duration = Histogram(
    "lethe_http_request_seconds",
    "Seconds from a request's arrival to the end of its answer.",
    ("method", "route"),
    registry=registry,
)


def count(method: str, route: str, status: int, seconds: float) -> None:
    """Count one answered request."""
    method = method if method in METHODS else "other"
    answered.labels(method, route, str(status)).inc()
    duration.labels(method, route).observe(seconds)


class ServiceFigures(Collector):
    """What the database knows: how much of everything is in which state."""

    def __init__(self, tx: Session) -> None:
        self._tx = tx

    def collect(self) -> Iterator[Metric]:
        """Ask the database."""
        for name, table in (
            ("requests", requests.Request),
            ("jobs", jobs.Job),
            ("versions", catalog.Version),
        ):
            family = GaugeMetricFamily(f"lethe_{name}", f"Number of {name}.", labels=("state",))
            counted = select(table.state, func.count()).group_by(table.state)
            for state, number in self._tx.execute(counted):
                family.add_metric([state], number)
            yield family
        yield self._one("lethe_requests_overdue", "Open requests past their time.", self._overdue())
        yield self._one("lethe_outbox_pending", "Bells not rung yet.", self._bells())
        yield self._one(
            "lethe_queue_oldest_seconds", "Age of the oldest due job nobody took.", self._oldest()
        )

    def _one(self, name: str, text: str, value: float) -> Metric:
        return GaugeMetricFamily(name, text, value=value)

    def _overdue(self) -> int:
        request = requests.Request
        late = request.due_at < clock.now()
        opened = request.state.not_in(requests.DONE_STATES)
        found = select(func.count()).select_from(request).where(late, opened)
        return self._tx.scalar(found) or 0

    def _bells(self) -> int:
        return self._tx.scalar(select(func.count()).select_from(jobs.Bell)) or 0

    def _oldest(self) -> float:
        due = select(func.min(jobs.Job.not_before)).where(jobs.Job.state == "queued")
        moment = self._tx.scalar(due)
        return 0.0 if moment is None else max(0.0, (clock.now() - moment).total_seconds())


def exposition(tx: Session) -> bytes:
    """Return everything in Prometheus' text format."""
    figures = CollectorRegistry()
    figures.register(ServiceFigures(tx))
    figures.register(LogFigures(tx))
    return generate_latest(registry) + generate_latest(figures)
