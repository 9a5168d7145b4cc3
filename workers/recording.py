"""What is needed to run a job again is recorded with it, once its method has run."""

from hashlib import file_digest
from typing import Any

from app.domain import methods, provenance
from app.domain.actions.recording import RunKeys, record_run
from app.domain.catalog import Version
from app.domain.edits import View
from app.domain.jobs import Job
from app.infra import db
from app.infra.code_digest import code_digest
from app.infra.settings import settings
from app.infra.storage import open_store
from app.unlearning.methods.registry import method_class
from app.unlearning.problem import Problem
from app.unlearning.update import Update
from workers.environment import environment
from workers.fingerprints import fingerprints, keys_by_name
from workers.lease import Lease
from workers.reading import BATCH_ROWS

ALWAYS = ("forget", "replacement", "retained", "holdout")


def record(
    lease: Lease, job: Job, view: View, problem: Problem, update: Update, opened: set[str]
) -> None:
    """Record what a job's method worked on.

    Args:
        lease: The job's.
        job: The job as it was claimed: with the method and parameters that the policy asked for.
        view: What it had to do.
        problem: What the method was given.
        update: What came of it.
        opened: Names of the rows that the method opened on demand.

    Raises:
        FenceLost: Another worker has the job.
    """
    keys = RunKeys()
    device = next(problem.model.parameters()).device
    with db.reading() as tx:
        manifests = [provenance.manifest_of(tx, e.dataset_id, e.revision) for e in view.all_edits]
    document: dict[str, Any] = {
        "v": 1,
        "job_id": job.id,
        "version_id": view.version.id,
        "kind": view.kind,
        "code": code_digest(),
        "configuration": provenance.configuration_of(
            view.version, job.policy, job.method, job.parameters
        ),
        "policy": job.policy,
        "method": job.method,
        "parameters": dict(job.parameters),
        "ran": update.method,
        "weights": view.version.digest,
        "curvature": curvature_facts(view.version) if problem.curvature is not None else None,
        "data": [
            {"dataset_id": edits.dataset_id, "revision": edits.revision, "manifest": manifest}
            for edits, manifest in zip(view.all_edits, manifests, strict=True)
        ],
        "requests": {
            "served": list(view.request_ids),
            "in_force": sorted({id for edits in view.all_edits for id in edits.requests}),
        },
        "seeds": {
            "generator": problem.generator_seed,
            **provenance.seeds_of(view.version, update.method, update.parameters),
        },
        "batches": {
            "reading": BATCH_ROWS,
            "recipe": None if problem.recipe is None else problem.recipe.batch_size,
        },
        "environment": environment(device),
        "rows": fingerprints(
            problem, (*ALWAYS, *sorted(opened)), keys_by_name(keys), counted=_unread(update)
        ),
    }
    replaced = {(e.dataset_id, e.revision): e.replaced for e in view.all_edits if len(e.replaced)}
    trains = update.method == methods.RETRAIN
    with lease.recording() as tx:
        record_run(tx, lease.job_id, lease.fence, document, keys, replaced if trains else None)


def _unread(update: Update) -> tuple[str, ...]:
    """Return what the method did not read: held-out rows may be many."""
    return () if "holdout_rows" in method_class(update.method).needs else ("holdout",)


def curvature_facts(version: Version) -> dict[str, Any] | None:
    """Return which stored diagonal a version has: its digest and how it was estimated."""
    names = ("digest", "estimator", "rows", "draws", "seed")
    stored = version.curvature
    return None if stored is None else {name: stored.get(name) for name in names}


def object_digest(key: str) -> str:
    """Return the digest of an object in the store.

    Raises:
        ObjectMissing: It is not there.
    """
    with open_store(settings().store_url).local_copy(key) as path, path.open("rb") as file:
        return f"sha256:{file_digest(file, 'sha256').hexdigest()}"
