"""The unlearn job, top to bottom: load, update, verify, store, publish.

Whatever goes wrong in the method or in a measurement counts as a failed gate: nothing is published
and the job escalates as the model's policy says. What goes wrong around them (database, disk,
lease) is no verdict on the result; the job is then tried again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog
from torch import nn

from app.domain import budgets, edits
from app.domain.actions import publishing, running
from app.domain.actions.publishing import Outcome
from app.domain.budgets import Line
from app.domain.edits import View
from app.domain.errors import FenceLost
from app.domain.failures import failure
from app.domain.jobs import Job
from app.infra import db
from app.infra.settings import settings
from app.infra.storage import open_store
from app.unlearning.errors import BudgetSpent, NothingMoved, UnlearningError
from app.unlearning.methods import shared_parameters
from app.unlearning.problem import Problem
from app.unlearning.update import Update
from workers.account import Account
from workers.budget import charge_of, drift_of, unlearn
from workers.device import prepare_torch
from workers.faults import pause_at
from workers.fingerprints import noted
from workers.inputs.errors import InputsError
from workers.lease import Lease
from workers.loading import Loaded, load, stored_curvature
from workers.recording import record
from workers.reporting import baseline_of, report_of
from workers.staging import staging
from workers.verifying import INFRASTRUCTURE, Verification, network_of, verify, watched
from workers.weights import save_weights

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Result:
    """A network that passed through the method and the measurements."""

    network: nn.Module
    update: Update
    verification: Verification
    report: dict[str, Any]


def run(lease: Lease) -> None:
    """Unlearn what the job's requests ask for, and publish the result if it passes.

    Raises:
        Exception: Something around the computation failed; the job is to be tried again.
    """
    account = Account(lease)
    device = prepare_torch(settings())
    with account.phase("loading"):
        with db.reading() as tx:
            job = running.require_fence(tx, lease.job_id, lease.fence)
            view = edits.view(tx, job)
            line = budgets.line_of(tx, view.version)
        if view.is_empty:
            with lease.recording() as tx:
                publishing.nothing_to_do(tx, lease.job_id, lease.fence)
            return
        try:
            loaded = load(view, job.id, job.parameters, device, _progress(lease), line.residual)
        except InputsError as error:
            _reject(lease, _failure_of(error), method=job.method)
            return
    try:
        result = _unlearn(job, view, loaded, line, account)
    except Exception as error:
        if isinstance(error, INFRASTRUCTURE):
            raise
        _reject(lease, _failure_of(error), method=job.method)
        return
    verdict = result.verification.judgement.verdict
    if verdict == "failed" or (verdict == "inconclusive" and _must_be_sure(job)):
        reason = failure("gates-failed", f"the verdict is {verdict}", verdict=verdict)
        _reject(lease, reason, method=result.update.method, report=result.report)
        return
    _publish(job, view, loaded.problem, result, account)


def _unlearn(job: Job, view: View, loaded: Loaded, line: Line, account: Account) -> Result:
    """Run the method and measure what it arrives at.

    Raises:
        NothingMoved: It arrives where it began.
    """
    with account.phase("curvature"):
        curvature = stored_curvature(view.version, next(loaded.problem.model.parameters()).device)
        problem = replace(loaded.problem, curvature=curvature)
    charge = charge_of(job, line, len(view.request_ids), problem)
    with account.phase("updating"):
        seen, opened = noted(problem)
        update = unlearn(job, seen, charge)
        _require_move(problem, update)
        asked = shared_parameters(job.parameters)
        update = replace(update, parameters={**update.parameters, **asked})
        pause_at("mid-update")
        network, statistics_rows = network_of(problem, update)
        record(account.lease, job, view, problem, update, opened)
    with account.phase("verifying"):
        measured = replace(loaded, problem=watched(problem, account.lease))
        verification = verify(measured, update, network, job.policy or {}, account)
    report = report_of(measured, update, network, verification, account, statistics_rows)
    report["lineage"] = charge.after(update, drift_of(problem.model, update))
    return Result(network, update, verification, report)


def _require_move(problem: Problem, update: Update) -> None:
    """Refuse an update that leaves the network as it was: nobody is served by its copy.

    Rows that are corrected to what the network was trained on leave nothing to do.

    Raises:
        NothingMoved: No parameter is different, though rows are.
    """
    if update.is_idle and not problem.nothing_changes:
        raise NothingMoved


def _publish(job: Job, view: View, problem: Problem, result: Result, account: Account) -> None:
    """Store the weights under a key of this attempt and make them the new version.

    Raises:
        FenceLost: Another worker has the job; its result counts and this one is destroyed.
        OSError: The store holds other bytes than were written.
    """
    lease, store = account.lease, open_store(settings().store_url)
    version = view.version
    key = f"weights/{version.tenant_id}/{version.model_id}/{job.id}/{lease.fence}.safetensors"
    with account.phase("storing"), staging(lease) as folder:
        path = folder / "weights.safetensors"
        saved = save_weights(result.network.state_dict(), path)
        stored = store.put_file(key, path)
    if stored.digest != saved.digest:
        raise OSError("the object store holds other bytes than were written")
    pause_at("after-store")
    with account.phase("publishing"):
        cost = {**result.report["cost"], "seconds": account.seconds(), "phases": account.phases}
        outcome = Outcome(
            weights_key=key,
            digest=saved.digest,
            size=saved.size,
            parameters=problem.parameter_count,
            baseline=baseline_of(result.verification, problem, result.network),
            report={**result.report, "cost": cost},
            method=result.update.method,
            method_parameters=dict(result.update.parameters),
        )
        try:
            with lease.recording() as tx:
                published = publishing.publish(tx, lease.job_id, lease.fence, outcome)
        except FenceLost:
            # Nothing else proves that the transaction was not committed after all.
            store.delete(key)
            raise
    log.info("job.published", version_id=published.id, digest=saved.digest)
    pause_at("after-publish")


def _reject(
    lease: Lease,
    error: dict[str, Any],
    *,
    method: str | None,
    report: dict[str, Any] | None = None,
) -> None:
    """Record that nothing is published, and what follows.

    Raises:
        FenceLost: Another worker has the job.
        Stopped: The job is to be cancelled; nothing follows then.
    """
    lease.confirm()
    with lease.recording() as tx:
        publishing.reject(tx, lease.job_id, lease.fence, error, report=report, method=method)
    log.warning("job.rejected", code=error["code"])


def _failure_of(error: Exception) -> dict[str, Any]:
    """Describe an exception of a method or measurement; only our own carry no data."""
    log.warning("method.failed", error=type(error).__name__)
    if isinstance(error, BudgetSpent):
        return failure("budget-spent", str(error), budget=error.name)
    if isinstance(error, InputsError):
        return failure("unusable-labels", str(error))
    name = type(error).__name__
    detail = f"{name}: {error}" if isinstance(error, UnlearningError) else name
    return failure("method-failed", detail)


def _must_be_sure(job: Job) -> bool:
    return (job.policy or {}).get("on_inconclusive") != "publish"


def _progress(lease: Lease) -> Callable[[float], None]:
    def report(fraction: float) -> None:
        lease.report("updating", fraction)
        pause_at("mid-update")

    return report
