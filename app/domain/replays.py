"""What was recorded with a job, checked against the log and the catalogue, for running it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import budgets, methods, provenance
from app.domain.audit import AuditEntry
from app.domain.budgets import Line
from app.domain.canonical import digest_of_document
from app.domain.catalog import Version
from app.domain.edits import View, view_again
from app.domain.errors import NotFound
from app.domain.jobs import Job
from app.domain.runs import RunRecord, open_key, open_rows


class NotReplayable(Exception):
    """Something that the run needs is not held any more, or never was recorded; says what."""


class InputChanged(Exception):
    """Something is not what was recorded; says what."""


@dataclass(frozen=True)
class Recorded:
    """A job that published something, and what it ran on.

    Attributes:
        job: The job.
        result: What it published.
        document: The record.
        view: What it had to do, as far as that is still known.
        line: What had been done to its line of versions.
        lasting: Key of the digests of what the run left behind.
        passing: Key of the others; None once they went.
    """

    job: Job
    result: Version
    document: Mapping[str, Any]
    view: View
    line: Line
    lasting: bytes
    passing: bytes | None

    @property
    def version(self) -> Version:
        """The version that the job worked on."""
        return self.view.version

    @property
    def trains(self) -> bool:
        """Whether the run trained again on the rows it left behind: it needs nothing else."""
        return bool(self.document["ran"] == methods.RETRAIN)


def recorded(tx: Session, job_id: str) -> Recorded:
    """Find what a job ran on; nothing is written.

    Raises:
        NotFound: There is no such job.
        NotReplayable: It published nothing, nothing was recorded, or its rows are gone.
        InputChanged: The record is not the one logged, or the configuration another.
    """
    job = tx.get(Job, job_id)
    if job is None or job.kind != "unlearn":
        raise NotFound("there is no such job")
    record = tx.get(RunRecord, job_id)
    result = tx.get(Version, job.result_version_id or "")
    if job.state != "succeeded" or result is None or result.produced_by_job_id != job.id:
        raise NotReplayable("the job has published nothing that could be compared")
    if record is None:
        raise NotReplayable("nothing was recorded with the job; it ran before records were kept")
    version = tx.get_one(Version, record.document["version_id"])
    _require_logged(tx, job, record, result)
    _require_configured(tx, record.document, version)
    lasting, passing = open_key(record, "lasting"), open_key(record, "passing")
    if lasting is None:
        raise NotReplayable(
            "rows that the job has read were erased or corrected since by other requests; so that"
            " nothing could be guessed about them, what was recorded of the rows was destroyed too"
        )
    requests = record.document["requests"]
    replaced = open_rows(record) if passing is None else None
    view = view_again(tx, version, requests["served"], requests["in_force"], replaced)
    line = budgets.line_of(tx, version)
    found = Recorded(job, result, record.document, view, line, lasting, passing)
    if passing is None and not found.trains:
        raise NotReplayable(
            "the requests it served have ended: the rows as they were are erased or written over,"
            f" and {record.document['ran']} needs them; only training again does not"
        )
    return found


def _require_logged(tx: Session, job: Job, record: RunRecord, result: Version) -> None:
    entries = tx.scalars(
        select(AuditEntry).where(
            AuditEntry.job_id == job.id,
            AuditEntry.type == "job.succeeded",
        )
    )
    facts = [entry.facts for entry in entries]
    logged = {(fact.get("run_sha256"), fact.get("digest")) for fact in facts}
    if (digest_of_document(record.document), result.digest) not in logged:
        raise InputChanged("the record of the run, or of its result, is not the one in the log")


def _require_configured(tx: Session, document: Mapping[str, Any], version: Version) -> None:
    configuration = provenance.configuration_of(
        version, document["policy"], document["method"], document["parameters"]
    )
    if configuration != document["configuration"] or version.digest != document["weights"]:
        raise InputChanged("what the version says about itself is not what it said then")
    for item in document["data"]:
        manifest = provenance.manifest_of(tx, item["dataset_id"], item["revision"])
        if manifest != item["manifest"]:
            raise InputChanged("the manifest of the data set is not the one recorded")
