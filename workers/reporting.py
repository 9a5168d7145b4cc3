"""The verification report of a job, as the HTTP contract shows it."""

import math
from typing import Any

import torch
from torch import nn

from app.unlearning.problem import Problem
from app.unlearning.update import Update, changed_scalars
from app.unlearning.verification.evaluation import baseline
from workers.account import Account
from workers.loading import Loaded
from workers.verifying import Verification


def report_of(
    loaded: Loaded,
    update: Update,
    result: nn.Module,
    verification: Verification,
    account: Account,
    statistics_rows: int,
) -> dict[str, Any]:
    """Write the report.

    Args:
        loaded: The problem and the rows its result was measured on.
        update: What the method did.
        result: The network after it.
        verification: What was measured.
        account: What it cost.
        statistics_rows: Rows that batch-norm statistics were computed on again; 0 for none.

    Returns:
        A JSON document without any id, label or cell.
    """
    problem = loaded.problem
    device = next((p.device for p in result.parameters()), torch.device("cpu"))
    report: dict[str, Any] = {
        "verdict": verification.judgement.verdict,
        "assurance": update.assurance,
        "method": update.method,
        "method_reason": update.reason,
        "parameters": dict(update.parameters),
        "measurements": [measurement.document() for measurement in verification.measurements],
        "controls": verification.controls,
        "gates": [gate.document() for gate in verification.judgement.gates],
        "cost": {
            "seconds": account.seconds(),
            "phases": dict(account.phases),
            "threads": torch.get_num_threads(),
            "device": device.type,
            "rows_read": _rows_read(loaded, update),
            "parameters_changed": changed_scalars(problem.model, result),
            "parameters_selected": update.selected,
            "parameters_total": problem.parameter_count,
            "gradient_evaluations": update.gradient_evaluations,
        },
        "rows": {
            "forgotten": len(problem.forget),
            "replaced": len(problem.replacement),
            "retained_at_hand": len(problem.retained),
            "retained_total": problem.retained_total,
        },
        "diagnostics": dict(update.diagnostics),
    }
    if update.certified is not None:
        report["certified"] = dict(update.certified)
    if update.assurance == "certified" and update.certified is not None:
        # What the signed certificate repeats: numbers alone.
        report["guarantee"] = {
            name: float(value)
            for name, value in update.certified.items()
            if isinstance(value, float) and math.isfinite(value)
        }
    if statistics_rows:
        report["batch_norm"] = (
            "running statistics were frozen in curvature and update and then computed again on "
            f"{statistics_rows} retained and corrected rows"
        )
    notes = dict(verification.notes)
    if not report["cost"]["parameters_changed"]:
        notes["method"] = _unchanged(problem)
    if loaded.left_out:
        notes["rows"] = (
            f"{loaded.left_out} training rows are left out: they were corrected to a label that "
            "the network has no output for"
        )
    if notes:
        report["notes"] = notes
    finite: dict[str, Any] = only_finite(report)
    return finite


def _unchanged(problem: Problem) -> str:
    """Say why a result may be published in which no parameter is different."""
    if problem.nothing_changes:
        return "no parameter is different: the rows are corrected to what they were"
    return (
        "no parameter is different: up to rounding they are already those of the network that "
        "never saw the rows"
    )


def baseline_of(verification: Verification, problem: Problem, result: nn.Module) -> dict[str, Any]:
    """Return the new version's baseline out of what was measured.

    Where every training row was corrected and none is retained, the corrected ones are what the
    new version is trained on.
    """
    halves = {"training": "retain", "holdout": "holdout"}
    figures: dict[str, Any] = {}
    for half, name in halves.items():
        found = {
            quantity: value
            for quantity in ("loss", "accuracy")
            if (value := verification.figure(f"{name}_{quantity}")) is not None
        }
        if not found and half == "training" and len(problem.replacement):
            found = baseline(result, problem.objective, problem.replacement)
        if found:
            figures[half] = found
    return figures


def only_finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: only_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [only_finite(item) for item in value]
    return value


def _rows_read(loaded: Loaded, update: Update) -> int:
    """Count the distinct rows read: by the method, and to measure its result."""
    problem = loaded.problem
    held_out = 0 if problem.holdout is None else len(problem.holdout)
    return max(update.rows_read, problem.rows_at_hand + loaded.only_measured) + held_out
