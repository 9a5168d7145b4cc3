"""Offline verification of evidence: is what this certificate says signed, logged and unchanged?

In this order: envelope, schema, soundness, logged leaf and its inclusion, the entries and
reports behind the certificate, the checkpoint's signature, witnesses, continuity with a
checkpoint kept from before, the request and the files in hand, later certificates, age.
The first thing that fails is the answer. Nothing is fetched, and no key is taken from the
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from app.ledger.certificates import Certificate
from app.ledger.checkpoints import Checkpoint
from app.ledger.envelopes import Envelope
from app.ledger.errors import LedgerError, Malformed, Stale, Untrusted
from app.ledger.evidence import CHECKPOINT, ENVELOPE, read_evidence
from app.ledger.examination import Examination
from app.ledger.notes import Note
from app.ledger.trust import Expectations


class Outcome(IntEnum):
    """How a verification ended; the exit status of the command."""

    OK = 0
    INVALID = 1
    MALFORMED = 2
    UNTRUSTED = 3
    STALE = 4


@dataclass(frozen=True)
class Finding:
    """The answer.

    Attributes:
        outcome: The exit status.
        sentence: What was found, for a person.
    """

    outcome: Outcome
    sentence: str


def examine(path: Path, expected: Expectations) -> Finding:
    """Verify an archive or folder of evidence.

    Args:
        path: Where it is.
        expected: What the verifier trusts, has and wants.

    Returns:
        The outcome, and one sentence that says what failed or what was shown.
    """
    try:
        files = read_evidence(path)
        verify_evidence(files, expected)
        certificate = Certificate.parse(Envelope.parse(files[ENVELOPE]).payload)
        checkpoint = Checkpoint.parse(Note.parse(files[CHECKPOINT]).text)
    except LedgerError as error:
        return Finding(outcome_of(error), f"{type(error).__name__}: {error}.")
    return Finding(
        Outcome.OK,
        f"The certificate of request {certificate.request.id} is signed, and logged among the"
        f" {checkpoint.size} entries of {checkpoint.origin}.",
    )


def outcome_of(error: LedgerError) -> Outcome:
    """Return the exit status for an error."""
    kinds: dict[type[LedgerError], Outcome] = {
        Malformed: Outcome.MALFORMED,
        Untrusted: Outcome.UNTRUSTED,
        Stale: Outcome.STALE,
    }
    found = (outcome for kind, outcome in kinds.items() if isinstance(error, kind))
    return next(found, Outcome.INVALID)


def verify_evidence(files: Mapping[str, bytes], expected: Expectations) -> None:
    """Verify the files of one archive.

    Args:
        files: Content by name.
        expected: What the verifier trusts, has and wants.

    Raises:
        Malformed: Something is missing or not what its format says.
        Invalid: Something is wrong.
        Untrusted: Something is not signed by a key that counts.
        Stale: Newer facts exist or may exist.
    """
    case = Examination(files, expected)
    chain = [case.verify_certificate("")]
    for prefix in case.followups():
        chain.append(case.verify_certificate(prefix))
        case.verify_follower(chain)
    logged_at = max(link.logged_at for link in chain)
    case.verify_checkpoint(logged_at)
    case.verify_pin()
    case.verify_in_hand(chain[0].certificate)
    case.verify_age(logged_at)
    case.verify_nothing_is_left()
    case.verify_not_revoked(chain)
