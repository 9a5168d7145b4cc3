"""Verify evidence offline: ``python -m app.ledger evidence.zip --key <vkey>``."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from app.ledger.errors import LedgerError
from app.ledger.notes import VerifierKey
from app.ledger.policies import Policy
from app.ledger.trust import Expectations, Quorum, TrustedKey, read_key_list
from app.ledger.verify import Outcome, examine, outcome_of


def main(arguments: list[str] | None = None) -> int:
    """Verify one archive or folder; print one sentence.

    Args:
        arguments: Those of the command line; by default of this process.

    Returns:
        0 ok, 1 invalid, 2 malformed, 3 untrusted key, 4 stale.
    """
    options = _parser().parse_args(arguments)
    try:
        finding = examine(options.evidence, _expectations(options))
        outcome, sentence = finding.outcome, finding.sentence
    except LedgerError as error:
        outcome, sentence = outcome_of(error), f"{type(error).__name__}: {error}."
    except OSError as error:
        outcome, sentence = Outcome.MALFORMED, f"A file given cannot be read: {error.strerror}."
    sys.stdout.write(f"{outcome.name.lower()}: {sentence}\n")
    return outcome


def _expectations(options: argparse.Namespace) -> Expectations:
    keys = [TrustedKey(VerifierKey.parse(text)) for text in options.key]
    for path in options.keys:
        keys += read_key_list(path.read_bytes())
    witnesses = [VerifierKey.parse(text) for text in options.witness]
    count = len(witnesses) if options.quorum is None else options.quorum
    quorum = Quorum.of(count, witnesses)
    if options.policy is not None:
        policy = Policy.parse(options.policy.read_bytes())
        # Where a key is given with its times, too, these count.
        known = {item.key for item in keys}
        keys += [TrustedKey(log.key) for log in policy.logs if log.key not in known]
        witnesses += [witness.key for witness in policy.witnesses.values()]
        quorum = Quorum(2, frozenset([quorum, policy.quorum])) if options.witness else policy.quorum
    return Expectations(
        keys=tuple(keys),
        witnesses=tuple(witnesses),
        quorum=quorum,
        pinned=options.checkpoint and options.checkpoint.read_bytes(),
        consistency=options.consistency and options.consistency.read_bytes(),
        request_id=options.request,
        models=tuple(options.model),
        not_before=options.not_before,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lethe-verify", description=main.__doc__)
    add = parser.add_argument
    add("evidence", type=Path, help="evidence.zip, or the folder it was unpacked into")
    add("--key", action="append", default=[], help="a trusted vkey; may be repeated")
    add("--keys", action="append", default=[], type=Path, help="a list of trusted keys with times")
    add("--witness", action="append", default=[], help="vkey of a trusted witness")
    add("--quorum", type=int, help="how many witnesses are needed; by default all")
    add("--policy", type=Path, help="whom to trust: a file of C2SP tlog-policy")
    add("--checkpoint", type=Path, help="a checkpoint of the log kept from before")
    add("--consistency", type=Path, help="proof between that and the evidence's checkpoint")
    add("--request", help="id of the request that the evidence has to be about")
    add("--model", action="append", default=[], type=Path, help="a file that has to be certified")
    add("--not-before", type=_time, help="refuse evidence older than this time (RFC 3339)")
    return parser


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(main())
