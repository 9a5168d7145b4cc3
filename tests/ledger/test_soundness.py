"""A certificate that contradicts itself is refused, though signed and logged."""

from dataclasses import replace

import pytest

from app.ledger.certificates import Follows, Gate, Parent
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


def test_entries_are_cited_in_the_order_of_the_log() -> None:
    log = BuiltLog()
    cited = facts(log)

    refused("Contradiction", evidence_of(certificate(cited[::-1], 8), log, cited), trusting())
