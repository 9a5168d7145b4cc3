"""Where checkpoints are handed in: compared with what was cosigned last, and cosigned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from app.ledger.checkpoints import Checkpoint, cosigned_at
from app.ledger.errors import LedgerError, MalformedPolicy
from app.ledger.notes import Note, NoteSignature, VerifierKey
from app.ledger.policies import Policy
from app.ledger.signers import Witness
from app.ledger.witnessing import Submission, log_of, verify_continued
from app.witness.errors import LogsMalformed, RecordDamaged
from app.witness.records import Records

LOGS = "logs.txt"


@dataclass(frozen=True)
class Desk:
    """One witness.

    Attributes:
        home: Folder with its key, its records, and the logs it cosigns: ``logs.txt``, a policy
            of C2SP tlog-policy with a line for each key of a log. The file is read anew each
            time, so that keys can be added and retired while the witness runs.
        witness: Its key.
    """

    home: Path
    witness: Witness

    @property
    def records(self) -> Records:
        """What it has cosigned last."""
        return Records(self.home / "records")

    def logs(self) -> list[VerifierKey]:
        """Return the keys of the logs it cosigns.

        Raises:
            LogsMalformed: The file is no policy.
        """
        path = self.home / LOGS
        if not path.exists():
            return []
        try:
            return [log.key for log in Policy.parse(path.read_bytes()).logs]
        except MalformedPolicy as error:
            raise LogsMalformed(f"{path}: {error}") from error

    def cosign(self, submission: Submission) -> NoteSignature:
        """Cosign a checkpoint that continues what was cosigned last, and remember it.

        Args:
            submission: What a log has sent.

        Returns:
            The cosignature; the checkpoint was remembered before.

        Raises:
            Malformed: What was sent cannot be read.
            Untrusted: No known log has signed it.
            BadSignature: A signature in the name of a known log is wrong.
            OtherSize: The log believes that another checkpoint was cosigned last.
            Fork: Another tree of this size was cosigned.
            BadConsistency: The checkpoint does not continue the one cosigned last.
            WitnessError: It is not known what was cosigned last, or which logs there are.
        """
        logs = self.logs()
        checkpoint = log_of(submission, logs)
        with self.records.turn(checkpoint.origin) as record:
            last = record.read()
            known, before = (None, None) if last is None else self._said(last)
            verify_continued(submission, checkpoint, known)
            now = datetime.now(UTC)
            # Never before the last cosignature, whatever the clock says.
            line = self.witness.cosign(checkpoint, now if before is None else max(now, before))
            lines = (*_by(submission.note, checkpoint.origin, logs), line)
            record.replace(Note(submission.note.text, lines))
        return line

    def _said(self, last: Note) -> tuple[Checkpoint, datetime | None]:
        """Return the checkpoint that was cosigned last, and when.

        Raises:
            RecordDamaged: It is none, or somebody has changed it.
        """
        try:
            return Checkpoint.parse(last.text), cosigned_at(last, self.witness.key)
        except LedgerError as error:
            raise RecordDamaged("the record is not as it was written") from error


def _by(note: Note, origin: str, logs: Iterable[VerifierKey]) -> Iterable[NoteSignature]:
    """Return the lines that were verified; nobody vouches for the others."""
    known = {(key.name, key.id) for key in logs if key.name == origin}
    return (line for line in note.signatures if (line.name, line.key_id) in known)
