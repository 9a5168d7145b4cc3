"""Verify evidence offline: ``python -m app.ledger evidence.zip --key <vkey>``.

What decides is ``verify``, and beside it ``verify_disclosed``; both stand alone. What comes on top
here only few need: whom to trust as a policy says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from app.ledger.errors import LedgerError, Malformed, Untrusted
from app.ledger.policies import Policy
from app.ledger.verify import Expectations, Key, Outcome, answer, expected_by, make_parser
from app.ledger.verify_disclosed import add_options, verified_by

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
    add_options(parser)
    parser.add_argument("--policy", type=Path, help="whom to trust: a file of C2SP tlog-policy")
    options = parser.parse_args(arguments)
    try:
        return answer(lambda: verified_by(options, _expected_by(options)))
    except LedgerError as error:
        outcome = next(found for kind, found in OUTCOMES.items() if isinstance(error, kind))
        sys.stdout.write(f"{outcome.name.lower()}: {type(error).__name__}: {error}.\n")
        return outcome


def _expected_by(options: argparse.Namespace) -> Expectations:
    expected = expected_by(options)
    if options.policy is None:
        return expected
    policy = Policy.parse(options.policy.read_bytes())
    return _trusting(expected, policy, is_also_wanted=bool(options.witness))


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
