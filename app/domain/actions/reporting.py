"""A verification report is stored, as the document and as rows one can query."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain.canonical import canonical_bytes
from app.domain.jobs import Job
from app.domain.reports import Gate, Measurement, Report
from app.infra.ids import new_id


def store_report(
    tx: Session,
    job: Job,
    version_id: str,
    result_version_id: str | None,
    document: Mapping[str, Any],
    method: str,
) -> Report:
    """Store what a job measured.

    Args:
        tx: The transaction that ends the job.
        job: The job.
        version_id: What it worked on.
        result_version_id: What it published, if it did.
        document: The report of the HTTP contract.
        method: The method that ran.

    Returns:
        The report.
    """
    cost = document.get("cost", {})
    report = Report(
        id=new_id("rep"),
        tenant_id=job.tenant_id,
        job_id=job.id,
        version_id=version_id,
        result_version_id=result_version_id,
        verdict=document["verdict"],
        assurance=document["assurance"],
        method=method,
        seconds=float(cost.get("seconds", 0.0)),
        rows_read=int(cost.get("rows_read", 0)),
        parameters_changed=int(cost.get("parameters_changed", 0)),
        parameters_total=int(cost.get("parameters_total", 0)),
        document=dict(document),
        canonical=canonical_bytes(document),
    )
    tx.add(report)
    tx.flush()
    tx.add_all(_measurements(report, document))
    tx.add_all(_gates(report, document))
    tx.flush()
    return report


def _measurements(report: Report, document: Mapping[str, Any]) -> Iterator[Measurement]:
    series = [(None, document.get("measurements", ()))]
    series += [(item["name"], item["measurements"]) for item in document.get("controls", ())]
    for control, measurements in series:
        for item in measurements:
            low, high = item.get("interval") or (None, None)
            yield Measurement(
                tenant_id=report.tenant_id,
                report_id=report.id,
                control=control,
                name=item["name"],
                before=item.get("before"),
                after=item.get("after"),
                reference=item.get("reference"),
                low=low,
                high=high,
                samples=item.get("samples", 0),
            )


def _gates(report: Report, document: Mapping[str, Any]) -> Iterator[Gate]:
    for item in document.get("gates", ()):
        yield Gate(
            tenant_id=report.tenant_id,
            report_id=report.id,
            name=item["name"],
            limit=item["limit"],
            value=item.get("value"),
            verdict=item["verdict"],
        )
