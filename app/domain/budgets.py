"""How far a line of versions has gone since it was last trained, and how far it may go.

Every approximate update leaves something behind, and what successive ones leave adds up. The report
of each job carries the sums, so that the next one on the line finds them in one place. They begin
anew with every training on the data as they are: an upload without a parent, or exact retraining.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.catalog import Version
from app.domain.reports import Report

NAMES: Final = ("requests", "share", "drift")
"""What a policy may limit, in the order it is checked."""


@dataclass(frozen=True)
class Line:
    """What has been done to a line of versions without training.

    Attributes:
        since_version_id: The version it was last trained as.
        requests: Requests carried out.
        rows: Rows deleted or corrected.
        share: Sum of each job's rows as a share of the training rows of its time.
        drift: Sum of each job's change of the parameters, as a share of their norm: at least what
            the parameters have moved in all.
        residual: What training and certified updates may have left of the gradient; None where
            nobody knows.
    """

    since_version_id: str
    requests: int = 0
    rows: int = 0
    share: float = 0.0
    drift: float = 0.0
    residual: float | None = None


@dataclass(frozen=True)
class Step:
    """What one job does; ``drift`` is known only afterwards."""

    requests: int
    rows: int
    share: float
    drift: float = 0.0


@dataclass(frozen=True)
class Exceeded:
    """A limit that a step would pass."""

    name: str
    used: float
    limit: float

    def __str__(self) -> str:
        """Say it in a sentence for the report."""
        return (
            f"since the line was last trained its {self.name} would come to {self.used:.4g}, and "
            f"the policy allows {self.limit:.4g}"
        )


def line_of(tx: Session, version: Version) -> Line:
    """Return what was done to the line of a version so far, the version included.

    A version fine-tuned from another one goes on where that one stood; what its own training left
    is what its recipe declares.
    """
    at, residual = version, _declared_residual(version)
    while at.produced_by_job_id is None and at.parent_id is not None:
        at = tx.get_one(Version, at.parent_id)
    if at.produced_by_job_id is None:
        return Line(at.id, residual=residual)
    document = tx.scalar(select(Report.document).where(Report.result_version_id == at.id)) or {}
    found: Mapping[str, Any] = document.get("lineage", {})
    if version.produced_by_job_id is not None:
        residual = found.get("residual")
    return Line(
        since_version_id=found.get("since_version_id") or at.id,
        requests=int(found.get("requests", 0)),
        rows=int(found.get("rows", 0)),
        share=float(found.get("share", 0.0)),
        drift=float(found.get("drift", 0.0)),
        residual=residual,
    )


def exceeded(budget: Mapping[str, Any], line: Line, step: Step) -> Exceeded | None:
    """Return the first limit that a step would pass, if there is one."""
    for name in NAMES:
        limit = budget.get(name)
        used = getattr(line, name) + getattr(step, name)
        if limit is not None and used > limit:
            return Exceeded(name, used, limit)
    return None


def document(
    budget: Mapping[str, Any],
    line: Line,
    step: Step,
    *,
    is_trained: bool,
    residual: float | None,
) -> dict[str, Any]:
    """Write the sums after a job for its report.

    Args:
        budget: The policy's limits.
        line: The sums before it.
        step: What it did.
        is_trained: Whether it trained the network on the edited data; the sums begin anew.
        residual: What may now be left of the gradient, where somebody knows.

    Returns:
        The document; ``since_version_id`` is None where it is the version that the job makes.
    """
    sums: dict[str, Any] = dict.fromkeys(("requests", "rows", "share", "drift"), 0)
    if not is_trained:
        sums = {name: getattr(line, name) + getattr(step, name) for name in sums}
    return {
        "since_version_id": None if is_trained else line.since_version_id,
        **sums,
        "limits": {name: budget.get(name) for name in NAMES},
        "residual": residual,
    }


def _declared_residual(version: Version) -> float | None:
    perturbation = (version.recipe or {}).get("perturbation")
    return None if perturbation is None else float(perturbation["gradient_norm"])
