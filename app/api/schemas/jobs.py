"""Jobs and their progress."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from app.api.schemas.base import Output, Time
from app.api.schemas.failures import problem_of
from app.domain import jobs
from app.domain.reports import Report

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class ProgressOut(Output):
    """How far a job is."""

    phase: str | None
    fraction: float


class JobOut(Output):
    """One run for one version, serving one or many requests."""

    id: str
    state: str
    done: bool
    version_id: str | None
    result_version_id: str | None
    request_ids: list[str]
    method: str | None
    parameters: dict[str, Any]
    attempts: int
    progress: ProgressOut
    report: dict[str, Any] | None
    error: dict[str, Any] | None
    escalated_from: str | None
    cancel_requested: bool
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, job: jobs.Job, request_ids: Sequence[str], report: Report | None) -> Self:
        """Write a job's document."""
        return cls(
            id=job.id,
            state=job.state,
            done=job.is_done,
            version_id=job.version_id,
            result_version_id=job.result_version_id,
            request_ids=list(request_ids),
            method=job.method,
            parameters=job.parameters,
            attempts=job.attempts,
            progress=ProgressOut(phase=job.phase, fraction=job.fraction),
            report=None if report is None else report.document,
            error=problem_of(job.error),
            escalated_from=job.escalated_from,
            cancel_requested=job.cancel_requested,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )
