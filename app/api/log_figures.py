"""Figures of the log and its witnesses, for Prometheus: all from the database, when asked.

The names of witnesses come from the operator.
"""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain import tree
from app.domain.log import Cosignature, Unsealed
from app.domain.queries import log
from app.infra import clock
from app.infra.settings import settings

NEVER = float("inf")


class LogFigures(Collector):
    """How far the log is sealed, signed and cosigned."""

    def __init__(self, tx: Session) -> None:
        self._tx = tx

    def collect(self) -> Iterator[Metric]:
        """Ask the database."""
        signed = log.newest(self._tx)
        waiting = self._tx.scalar(select(func.count()).select_from(Unsealed)) or 0
        yield _gauge("log_size", "Leaves of the log.", tree.size_of(self._tx))
        yield _gauge("log_unsealed", "Entries that wait for a place in the log.", waiting)
        yield _gauge(
            "log_signed_size",
            "Leaves below the newest checkpoint.",
            0 if signed is None else signed.size,
        )
        yield _gauge(
            "log_checkpoint_age_seconds",
            "Age of the newest checkpoint; it grows while nothing happens.",
            _age(None if signed is None else signed.created_at),
        )
        policy = settings().witness_policy
        if policy.witnesses:
            enough = log.cosigned(self._tx, policy.quorum)
            yield _gauge(
                "log_quorum_size",
                "Leaves below the newest checkpoint that a quorum of witnesses has cosigned.",
                0 if enough is None else enough.size,
            )
            yield from self._witnesses({
                str(party.key): name for name, party in policy.witnesses.items()
            })

    def _witnesses(self, names: dict[str, str]) -> Iterator[Metric]:
        query = (
            select(
                Cosignature.witness,
                func.max(Cosignature.size),
                func.max(Cosignature.cosigned_at),
            )
            .where(Cosignature.witness.in_(names))
            .group_by(Cosignature.witness)
        )
        last = {vkey: (size, time) for vkey, size, time in self._tx.execute(query)}
        sizes = GaugeMetricFamily(
            "lethe_witness_size", "Leaves that a witness has cosigned last.", labels=("witness",)
        )
        ages = GaugeMetricFamily(
            "lethe_witness_age_seconds", "Since a witness last cosigned.", labels=("witness",)
        )
        for vkey, name in names.items():
            size, time = last.get(vkey, (0, None))
            sizes.add_metric([name], size)
            ages.add_metric([name], _age(time))
        yield from (sizes, ages)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"lethe_{name}", text, value=value)


def _age(time: datetime | None) -> float:
    return NEVER if time is None else max(0.0, (clock.now() - time).total_seconds())
