"""What a published result depended on, as digests that are logged with it.

``code``: the program's files. ``configuration``: policy, method, parameters and everything the
version says about itself. ``dataset_manifest``: the revision's upload and how many rows it has.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import methods
from app.domain.canonical import digest_of_document
from app.domain.catalog import Revision, Version
from app.domain.jobs import Job
from app.infra.code_digest import code_digest

CONFIGURED = (
    "architecture",
    "inputs",
    "objective",
    "weight_decay",
    "recipe",
    "training_split",
    "holdout_split",
)


def inputs_of(
    tx: Session, job: Job, version: Version, method: str, parameters: Mapping[str, Any]
) -> dict[str, str]:
    """Return the digests of a run's inputs.

    Args:
        tx: The transaction.
        job: The job.
        version: What it worked on.
        method: The method that ran.
        parameters: With these parameters.

    Returns:
        SHA-256 in hexadecimal by name, as a certificate names them.
    """
    return {
        "code": code_digest(),
        "configuration": configuration_of(version, job.policy, method, parameters),
        "dataset_manifest": manifest_of(tx, version.dataset_id, version.dataset_revision),
    }


def configuration_of(
    version: Version,
    policy: Mapping[str, Any] | None,
    method: str | None,
    parameters: Mapping[str, Any],
) -> str:
    """Return the digest of everything that was decided about a run, in hexadecimal."""
    return digest_of_document({
        "policy": policy or {},
        "method": method,
        "parameters": parameters,
        **{name: getattr(version, name) for name in CONFIGURED},
    })


def manifest_of(tx: Session, dataset_id: str, number: int) -> str:
    """Return the digest of what a revision is, in hexadecimal; erasures do not change it."""
    revision = tx.scalars(
        select(Revision).where(Revision.dataset_id == dataset_id, Revision.number == number)
    ).one()
    return digest_of_document({
        "dataset_id": revision.dataset_id,
        "revision": revision.number,
        "digest": revision.digest,
        "rows": revision.rows,
        "splits": revision.splits,
        "columns": revision.columns,
    })


def seeds_of(version: Version, method: str, parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the seeds of a run's random generators, by the names of their settings."""
    settings: dict[str, Any] = dict(parameters)
    if method == methods.RETRAIN:
        settings = {**(version.recipe or {}), **settings}
    return {
        name: value
        for name, value in settings.items()
        if "seed" in name and isinstance(value, int) and value >= 0
    }
