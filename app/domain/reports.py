"""Verification reports and their measurements, as rows one can query."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.infra import clock
from app.infra.db import Base, JsonDocument, UtcDateTime


class Report(Base):
    """What a job measured and how it was judged."""

    __tablename__ = "reports"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"), index=True)
    result_version_id: Mapped[str | None] = mapped_column(String(40), index=True)
    verdict: Mapped[str] = mapped_column(String(20))
    assurance: Mapped[str] = mapped_column(String(20))
    method: Mapped[str] = mapped_column(String(60))
    seconds: Mapped[float]
    rows_read: Mapped[int] = mapped_column(BigInteger)
    parameters_changed: Mapped[int] = mapped_column(BigInteger)
    parameters_total: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    """The whole report as the HTTP contract shows it."""
    canonical: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The same as canonical JSON: the bytes whose digest is logged and certified."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


def _serial() -> Mapped[int]:
    return mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )


class Measurement(Base):
    """One measured quantity of a report; ``control`` is None for the result itself."""

    __tablename__ = "measurements"

    id: Mapped[int] = _serial()
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    report_id: Mapped[str] = mapped_column(ForeignKey("reports.id"), index=True)
    control: Mapped[str | None] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(60))
    before: Mapped[float | None]
    after: Mapped[float | None]
    reference: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    samples: Mapped[int] = mapped_column(BigInteger)


class Gate(Base):
    """One gate of a report: its limit, the value and the verdict."""

    __tablename__ = "gates"

    id: Mapped[int] = _serial()
    tenant_id: Mapped[str] = mapped_column(String(40), index=True)
    report_id: Mapped[str] = mapped_column(ForeignKey("reports.id"), index=True)
    name: Mapped[str] = mapped_column(String(60))
    limit: Mapped[float]
    value: Mapped[float | None]
    verdict: Mapped[str] = mapped_column(String(20))
