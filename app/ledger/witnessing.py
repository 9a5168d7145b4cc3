"""What a log sends to its witnesses, and what a witness checks (C2SP tlog-witness, 1.0.0).

A witness remembers of each log the largest checkpoint that it has cosigned. It cosigns another
one only if the log has signed it and proves that it continues that one: then no two trees of
one size are ever cosigned, whatever the log does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.ledger.checkpoints import Checkpoint
from app.ledger.consistency import verify_consistency
from app.ledger.encoding import from_base64, is_decimal, to_base64
from app.ledger.errors import (
    BadConsistency,
    Fork,
    MalformedSubmission,
    OtherSize,
    UnknownLog,
)
from app.ledger.notes import LARGEST_NOTE, Note, VerifierKey, verify_note
from app.ledger.proofs import LONGEST
from app.ledger.tree_hash import EMPTY_ROOT, HASH_SIZE

LARGEST_SUBMISSION = LARGEST_NOTE + (LONGEST + 1) * 64
"""Bytes; a line of the proof takes 45."""


@dataclass(frozen=True)
class Submission:
    """A checkpoint with the proof that it continues an earlier one, not verified.

    Attributes:
        old_size: Size of the earlier one; 0 if the log knows of none.
        proof: Proof of consistency, hashes of 32 bytes each.
        note: The checkpoint as the log has signed it.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    @classmethod
    def parse(cls, data: bytes) -> Submission:
        """Read the body of ``add-checkpoint``.

        Raises:
            MalformedSubmission: It is none.
            MalformedNote: What it holds is not a note.
        """
        head, gap, note = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
            proof = tuple(map(from_base64, lines))
        except ValueError as error:
            raise MalformedSubmission("a line of the proof is not base 64") from error
        word, _, size = first.partition(" ")
        if len(data) > LARGEST_SUBMISSION or not gap or word != "old" or not is_decimal(size):
            raise MalformedSubmission("the first line is not the old size, or there is too much")
        if len(proof) > LONGEST or any(len(part) != HASH_SIZE for part in proof):
            raise MalformedSubmission("a line of the proof is not a hash, or there are too many")
        return cls(int(size), proof, Note.parse(note))

    def __bytes__(self) -> bytes:
        """Write the body of ``add-checkpoint``."""
        head = "\n".join([f"old {self.old_size}", *map(to_base64, self.proof)])
        return f"{head}\n\n".encode() + bytes(self.note)


def log_of(submission: Submission, logs: Iterable[VerifierKey]) -> Checkpoint:
    """Check that a log which the witness knows has signed the checkpoint.

    Args:
        submission: What was sent.
        logs: Keys of the known logs, each with the log's origin as name.

    Returns:
        The checkpoint; it may contradict what was cosigned before.

    Raises:
        MalformedCheckpoint: The note is none.
        MalformedSubmission: The earlier tree is larger than this one.
        UnknownLog: No key of a log with this origin is known.
        UnknownKey: No such key has signed.
        BadSignature: A signature in the name of such a key is wrong.
    """
    checkpoint = Checkpoint.parse(submission.note.text)
    keys = [key for key in logs if key.name == checkpoint.origin]
    if not keys:
        raise UnknownLog("nothing is known about a log of this origin")
    verify_note(submission.note, keys)
    if submission.old_size > checkpoint.size:
        raise MalformedSubmission("the earlier tree is larger than the later one")
    return checkpoint


def verify_continued(
    submission: Submission, checkpoint: Checkpoint, known: Checkpoint | None
) -> None:
    """Check that a checkpoint continues the one that was cosigned last.

    Args:
        submission: What was sent.
        checkpoint: What ``log_of`` returned for it.
        known: The checkpoint of the same log cosigned last; None if there is none.

    Raises:
        OtherSize: The log believes that another one was cosigned last.
        Fork: That one has the same size and another root.
        BadConsistency: The proof does not show that it is continued.
    """
    if known is None:
        known = Checkpoint(checkpoint.origin, 0, EMPTY_ROOT)
    if submission.old_size != known.size:
        raise OtherSize(known.size)
    if checkpoint.size == known.size and checkpoint.root != known.root:
        raise Fork("the log has shown two different trees of one size")
    if known.size:
        verify_consistency(
            size=known.size,
            root=known.root,
            later_size=checkpoint.size,
            later_root=checkpoint.root,
            proof=submission.proof,
        )
    elif submission.proof:
        raise BadConsistency("there is no proof between trees of these sizes")
