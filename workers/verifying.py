"""Measure a job's result before and after, beside a reference and controls, and judge it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from app.domain.errors import FenceLost
from app.infra.storage import StorageError
from app.unlearning.batch_norm import recompute_statistics
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.rows import concatenate
from app.unlearning.sampling import uniform_sample
from app.unlearning.update import Update, apply_update
from app.unlearning.verification import Judgement, Measurement, judge, measure, observe
from app.unlearning.verification.shared_layers import without_shared_layers
from workers.account import Account
from workers.controls import run_control
from workers.lease import Lease, Stopped
from workers.loading import Loaded

log = structlog.get_logger(__name__)

INFRASTRUCTURE = (FenceLost, Stopped, SQLAlchemyError, StorageError, OSError, MemoryError)
"""Failures of the machinery around a computation; they say nothing about its result."""


@dataclass(frozen=True)
class Verification:
    """What was measured and how it was judged.

    Attributes:
        measurements: Of the result.
        judgement: The gates.
        controls: Documents of the controls, as the report shows them.
        notes: What could not be done, by name.
    """

    measurements: tuple[Measurement, ...]
    judgement: Judgement
    controls: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def figure(self, name: str) -> float | None:
        """Return a measurement of the result by its name."""
        return next((m.after for m in self.measurements if m.name == name), None)


def network_of(problem: Problem, update: Update) -> tuple[nn.Module, int]:
    """Return the updated network and how many rows its batch-norm statistics are from.

    Running statistics remember the forgotten rows and no gradient moves them, so they are computed
    again; retraining brings its own. Beside a sample of the retained rows only a like share of the
    corrected ones counts: statistics know no weights.

    A certified update leaves them alone: they belong to layers that were never fitted to the rows,
    and the proof is about the features as they are.

    Returns:
        The network, and the number of rows: 0 when there was nothing to compute again.
    """
    result = apply_update(problem.model, update)
    share = max(1, round(len(problem.replacement) / max(1.0, problem.retained_weight)))
    generator = torch.Generator().manual_seed(problem.generator_seed)
    corrected = uniform_sample(problem.replacement, share, generator)
    rows = concatenate(problem.retained, corrected)
    if update.method == "retrain" or update.certified is not None or len(rows) < 2:
        return result, 0
    buffers = recompute_statistics(result, rows, seed=problem.generator_seed)
    if not buffers:
        return result, 0
    return apply_update(result, replace(update, values={}, buffers=buffers)), len(rows)


def verify(
    loaded: Loaded,
    update: Update,
    result: nn.Module,
    policy: Mapping[str, Any],
    account: Account,
) -> Verification:
    """Measure and judge a result.

    Args:
        loaded: The problem and the rows to measure on.
        update: What the method did.
        result: The network after it.
        policy: The model's policy.
        account: References and controls are left out of it.

    Returns:
        The measurements, the gates and the controls.
    """
    problem, sets = loaded.problem, loaded.sets
    objective, seed = problem.objective, problem.generator_seed
    lease = account.lease
    notes: dict[str, str] = {}
    old, new, rows = without_shared_layers(problem.model, result, sets)
    before = observe(old, objective, rows)
    lease.report("verifying", 0.2)
    after = observe(new, objective, rows)
    lease.report("verifying", 0.4)
    reference = None
    if policy["verification"]["reference"] == "retrain":
        with account.not_counted():
            network = _reference(problem, update, result, notes)
            reference = None if network is None else observe(network, objective, sets)
    lease.report("verifying", 0.6)
    measurements = measure(before, after, reference, seed)
    judgement = judge(measurements, policy["gates"])
    controls = []
    for name in policy["verification"]["controls"]:
        lease.report("verifying", 0.8)
        with account.not_counted() as seconds:
            network = _control(name, problem, update, notes)
            seen = None if network is None else observe(network, objective, sets)
        if seen is not None:
            measured = [m.document() for m in measure(before, seen, reference, seed)]
            controls.append({"name": name, "measurements": measured, "seconds": seconds[0]})
    return Verification(measurements, judgement, controls, notes)


def watched(problem: Problem, lease: Lease) -> Problem:
    """Return the problem with a progress that only asks whether to go on."""
    return replace(problem, progress=lambda _: lease.check())


def _reference(
    problem: Problem, update: Update, result: nn.Module, notes: dict[str, str]
) -> nn.Module | None:
    if update.method == "retrain":
        return result
    try:
        return apply_update(problem.model, make_method("retrain", {}).unlearn(problem))
    except INFRASTRUCTURE:
        raise
    except Exception as error:
        # Gates that need the reference fail by themselves.
        log.warning("reference.failed", error=type(error).__name__)
        notes["reference"] = f"not available: {type(error).__name__}"
        return None


def _control(
    name: str, problem: Problem, update: Update, notes: dict[str, str]
) -> nn.Module | None:
    try:
        return network_of(problem, run_control(name, problem, update))[0]
    except INFRASTRUCTURE:
        raise
    except Exception as error:
        log.warning("control.failed", control=name, error=type(error).__name__)
        notes[f"control {name}"] = f"not available: {type(error).__name__}"
        return None
