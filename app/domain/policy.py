"""The policy of a model: how its requests are worked on, measured and judged.

It belongs to the model's owner; a request cannot choose weaker settings. Stored policies are
always complete; each job keeps the one that held when it was queued.
"""

from collections.abc import Mapping
from typing import Any, Final

from app.domain import methods
from app.domain.errors import FieldError, Refused
from app.domain.json_schema import faults
from app.domain.texts import document_faults

DEFAULTS: Final[Mapping[str, Any]] = {
    "method": methods.AUTO,
    "parameters": {},
    "verification": {"reference": "none", "controls": []},
    "gates": {"holdout_accuracy_drop": 0.02},
    "on_gate_failure": ["retrain", "attention"],
    "on_inconclusive": "publish",
    "batching": {"max_wait_seconds": 0, "max_samples": 100000},
    "withdraw_after_seconds": 0,
    "budget": {"requests": None, "share": None, "drift": None},
}
MERGED = ("verification", "batching", "budget")
"""Objects whose missing fields take their defaults; the others are taken as a whole."""

UPPER_GATES = (
    "holdout_accuracy_drop",
    "retain_accuracy_drop",
    "membership_auc",
    "membership_auc_to_reference",
)
LOWER_GATES = ("corrected_accuracy", "forget_gap_closed")
REFERENCE_GATES = ("membership_auc_to_reference", "forget_gap_closed")
CONTROLS = ("fine_tune", "random_mask", "last_layer")
LONGEST_SECONDS = 10 * 366 * 86400

_seconds = {"type": "number", "minimum": 0, "maximum": LONGEST_SECONDS}
_share = {"type": "number", "minimum": -1, "maximum": 1}
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "method": {"type": "string"},
        "parameters": {"type": "object"},
        "verification": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "reference": {"type": "string", "enum": ["none", "retrain"]},
                "controls": {
                    "type": "array",
                    "maxItems": len(CONTROLS),
                    "items": {"type": "string", "enum": list(CONTROLS)},
                },
            },
        },
        "gates": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys((*UPPER_GATES, *LOWER_GATES), _share),
        },
        "on_gate_failure": {
            "type": "array",
            "maxItems": 2,
            "items": {"type": "string", "enum": ["retrain", "attention"]},
        },
        "on_inconclusive": {"type": "string", "enum": ["publish", "fail"]},
        "batching": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "max_wait_seconds": _seconds,
                "max_samples": {"type": "integer", "minimum": 1, "maximum": 2**53},
            },
        },
        "withdraw_after_seconds": _seconds,
        "budget": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "requests": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**53},
                "share": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                "drift": {"type": ["number", "null"], "minimum": 0, "maximum": 1e6},
            },
        },
    },
}


def complete(policy: Mapping[str, Any] | None, pointer: str = "") -> dict[str, Any]:
    """Fill in the defaults and check the whole.

    Args:
        policy: What the owner wrote; None and missing fields take the defaults.
        pointer: JSON Pointer of the policy in the body, for the errors.

    Returns:
        The complete policy.

    Raises:
        Refused: ``invalid-policy``, with every field at fault.
    """
    given = dict(policy or {})
    errors = document_faults(given, pointer) or faults(SCHEMA, given, pointer)
    if not errors:
        whole = {name: given.get(name, default) for name, default in DEFAULTS.items()}
        for name in MERGED:
            whole[name] = {**DEFAULTS[name], **given.get(name, {})}
        errors = [*_method_faults(whole, pointer), *_gate_faults(whole, pointer)]
        if not errors:
            return whole
    raise Refused("The policy is not valid", code="invalid-policy", errors=errors)


def _method_faults(policy: Mapping[str, Any], pointer: str) -> list[FieldError]:
    schema = methods.schema_of(policy["method"])
    if schema is None:
        known = ", ".join(methods.names())
        return [FieldError(f"{pointer}/method", "unknown-method", f"takes one of {known}")]
    return faults(schema, policy["parameters"], f"{pointer}/parameters")


def _gate_faults(policy: Mapping[str, Any], pointer: str) -> list[FieldError]:
    """A gate on the reference needs one to be asked for."""
    if policy["verification"]["reference"] != "none":
        return []
    return [
        FieldError(f"{pointer}/gates/{name}", "needs-reference", "needs verification.reference")
        for name in REFERENCE_GATES
        if name in policy["gates"]
    ]
