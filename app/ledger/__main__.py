"""Verify evidence offline: ``python -m app.ledger evidence.zip --key <vkey>``.

The verifier is ``verify``, which stands alone. Beside it there is what only few need: whom to trust
as a policy says, and what was disclosed of a request.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.ledger.disclosures import DisclosedDetail, DisclosedMember, verify_disclosed
from app.ledger.errors import LedgerError, Malformed, Untrusted
from app.ledger.policies import Policy
from app.ledger.verify import (
    Expectations,
    Key,
    Outcome,
    answer,
    expected_by,
    make_parser,
    read_evidence,
)

OUTCOMES: Mapping[type[Exception], Outcome] = {
    Malformed: Outcome.MALFORMED,
    Untrusted: Outcome.UNTRUSTED,
    LedgerError: Outcome.INVALID,
}


def main(arguments: list[str] | None = None) -> int:
    """Verify one archive or folder; print one sentence.

    Args:
        arguments: Those of the command line; by default of this process.

    Returns:
        0 ok, 1 invalid, 2 malformed, 3 untrusted key, 4 stale.
    """
    parser = make_parser()
    add = parser.add_argument
    add("--policy", type=Path, help="whom to trust: a file of C2SP tlog-policy")
    add("--member", action="append", default=[], type=Path, help="proof that an id was named")
    add("--detail", action="append", default=[], type=Path, help="what was asked for, disclosed")
    options = parser.parse_args(arguments)
    try:
        return answer(lambda: _verified(options))
    except LedgerError as error:
        outcome = next(found for kind, found in OUTCOMES.items() if isinstance(error, kind))
        sys.stdout.write(f"{outcome.name.lower()}: {type(error).__name__}: {error}.\n")
        return outcome


def _verified(options: argparse.Namespace) -> str:
    expected = expected_by(options)
    if options.policy is not None:
        policy = Policy.parse(options.policy.read_bytes())
        expected = _trusting(expected, policy, is_also_wanted=bool(options.witness))
    members = [DisclosedMember.parse(path.read_bytes()) for path in options.member]
    details = [DisclosedDetail.parse(path.read_bytes()) for path in options.detail]
    files = read_evidence(options.evidence)
    said = verify_disclosed(files, expected, members=members, details=details)
    # As ASCII: an id may hold anything, and this goes to a terminal.
    named = ", ".join(ascii(shown.member) for shown in members)
    return f"{said} The request named {named}." if named else said


def _trusting(expected: Expectations, policy: Policy, *, is_also_wanted: bool) -> Expectations:
    """Add whom a policy trusts; a quorum given besides it has to be met besides."""
    # Where a key is given with its times, too, these count.
    known = {(key.name, key.public) for key in expected.keys}
    named = [Key.parse(str(log.key)) for log in policy.logs]
    logs = [key for key in named if (key.name, key.public) not in known]
    witnesses = [Key.parse(str(witness.key)) for witness in policy.witnesses.values()]
    own = {key.public for key in expected.witnesses}
    return replace(
        expected,
        keys=(*expected.keys, *logs),
        witnesses=(*expected.witnesses, *witnesses),
        is_quorum=lambda cosigners: (
            policy.quorum.is_met(cosigners)
            and (not is_also_wanted or expected.is_quorum(own & cosigners))
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
