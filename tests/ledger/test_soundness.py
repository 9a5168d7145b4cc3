"""A certificate that contradicts itself is refused, though signed and logged."""

from dataclasses import replace
from typing import Literal

import pytest

from app.ledger.certificates import Follows, Gate, Parent
from app.ledger.verify import verify_evidence
from tests.ledger.case import (
    BuiltLog,
    at,
    certificate,
    digest,
    facts,
    run,
    trusting,
)
from tests.ledger.forging import certified, evidence_of, refused

TARGET = certificate([], 8).targets[0]
PASSED = Gate("g", "at_most", "0.02", "passed", "0.03")
CONTRADICTIONS: dict[str, dict[str, object]] = {
    "issued before the end": {"issued_at": at(5)},
    "rows erased after issue": {"rows": replace(certificate([], 8).rows, done_at=at(99))},  # type: ignore[type-var]
    "follows without reason to": {"kind": "withdrawal_completed"},
    "reason without revocation": {
        "kind": "withdrawal_completed",
        "follows": Follows(digest("first"), "wrong_rows"),
    },
    "revocation without reason": {"kind": "revoked", "follows": Follows(digest("first"))},
    "destroyed and still waiting": {
        "kind": "withdrawal_completed",
        "follows": Follows(digest("first")),
        "targets": (replace(TARGET, parent=Parent("mv_a", digest("old weights"), "pending")),),
    },
    "limits left out": {"limits": ("All is well.",)},
    "withdrawn without time": {
        "targets": (replace(TARGET, parent=replace(TARGET.parent, withdrawn_at=None)),)
    },
    "result without run": {"targets": (replace(TARGET, run=None),)},
    "result and reason": {"targets": (replace(TARGET, reason="cancelled"),)},
    "version twice": {"targets": (TARGET, TARGET)},
    "gate beyond its limit": {"targets": (replace(TARGET, run=run(gates=(PASSED,))),)},
    "gate not measured": {
        "targets": (replace(TARGET, run=run(gates=(replace(PASSED, value=None),))),)
    },
    "gate failed": {
        "targets": (replace(TARGET, run=run(gates=(replace(PASSED, verdict="failed"),))),)
    },
    "verdict failed": {"targets": (replace(TARGET, run=run(verdict="failed")),)},
    "verdict not that of the gates": {
        "targets": (replace(TARGET, run=run(verdict="inconclusive")),)
    },
    "gate not conclusive": {
        "targets": (
            replace(
                TARGET,
                run=run(gates=(replace(PASSED, value="0.01", interval=("0", "0.03")),)),
            ),
        )
    },
    "interval turned round": {
        "targets": (
            replace(TARGET, run=run(gates=(replace(PASSED, value="0", interval=("1", "-1")),))),
        )
    },
    "bound without assurance": {"targets": (replace(TARGET, run=run(guarantee={"epsilon": "1"})),)},
    "more changed than there is": {
        "targets": (
            replace(
                TARGET,
                run=run(selection=replace(run().selection, changed=99999)),  # type: ignore[type-var]
            ),
        )
    },
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_signed_and_logged_contradiction_is_refused(name: str) -> None:
    refused("Contradiction", certified(**CONTRADICTIONS[name]), trusting())


@pytest.mark.parametrize(
    ("bound", "interval", "verdict"),
    [
        ("at_most", ("0.01", "0.02"), "passed"),
        ("at_most", ("0.02", "0.03"), "inconclusive"),
        ("at_most", ("0.02", "0.02"), "passed"),
        ("at_least", ("0.02", "0.03"), "passed"),
        ("at_least", ("0.01", "0.02"), "inconclusive"),
        ("at_least", ("0.02", "0.02"), "passed"),
    ],
)
def test_a_limit_at_the_end_of_an_interval_belongs_to_the_side_that_passes(
    bound: Literal["at_most", "at_least"],
    interval: tuple[str, str],
    verdict: Literal["passed", "inconclusive"],
) -> None:
    stateds: tuple[Literal["passed", "inconclusive"], ...] = ("passed", "inconclusive")
    for stated in stateds:
        gate = Gate("g", bound, "0.02", stated, "0.02", interval)
        files = certified(targets=(replace(TARGET, run=run(verdict=stated, gates=(gate,))),))
        if stated == verdict:
            verify_evidence(files, trusting())
        else:
            refused("Contradiction", files, trusting())


def test_no_digit_of_a_gate_is_lost() -> None:
    """There may be more digits than Python reckons with."""
    limit, more = f"1.{'0' * 30}", f"1.{'0' * 29}1"
    bounds: tuple[Literal["at_most", "at_least"], ...] = ("at_most", "at_least")
    for bound in bounds:
        passing, failing = (limit, more) if bound == "at_most" else (more, limit)
        for value in (passing, failing):
            gate = Gate("g", bound, passing, "passed", value)
            files = certified(targets=(replace(TARGET, run=run(gates=(gate,))),))
            if value == passing:
                verify_evidence(files, trusting())
            else:
                refused("Contradiction", files, trusting())


def test_entries_are_cited_in_the_order_of_the_log() -> None:
    log = BuiltLog()
    cited = facts(log)

    refused("Contradiction", evidence_of(certificate(cited[::-1], 8), log, cited), trusting())
