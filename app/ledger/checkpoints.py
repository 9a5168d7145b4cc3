"""Checkpoints: what a log says about its tree, and who has seen it (C2SP tlog-checkpoint).

A checkpoint is the text of a note: the log's origin, the size of its tree, and its root. The
log signs it under its origin as name. Witnesses that have checked that it continues the one
they saw before cosign it with a time (C2SP tlog-cosignature, Ed25519, ``cosignature/v1``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.ledger.encoding import from_base64, is_decimal, to_base64
from app.ledger.errors import BadSignature, MalformedCheckpoint, QuorumMissed
from app.ledger.notes import COSIGNATURE, Note, VerifierKey
from app.ledger.tree_hash import HASH_SIZE
from app.ledger.trust import Quorum

LATEST = 253_402_300_799
"""The last second of the year 9999: what a calendar can still say."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a log.

    Attributes:
        origin: Which log.
        size: How many leaves its tree has.
        root: Root of the tree, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note.

        Extension lines are refused: nobody can audit them, and our log writes none.

        Raises:
            MalformedCheckpoint: It is not three lines of origin, size and root.
        """
        lines = text.split("\n")
        if len(lines) != 4 or not lines[0] or lines[3]:
            raise MalformedCheckpoint("a checkpoint has three lines")
        try:
            root = from_base64(lines[2])
        except ValueError as error:
            raise MalformedCheckpoint("the root is not base 64") from error
        if not is_decimal(lines[1]) or len(root) != HASH_SIZE:
            raise MalformedCheckpoint("the second line is no size, or the third no root")
        return cls(lines[0], int(lines[1]), root)

    def __str__(self) -> str:
        """Write the text that is signed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


def cosigned_message(text: str, seconds: int) -> bytes:
    """Return what a witness signs: the text of a checkpoint behind a POSIX time."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosigned_at(note: Note, key: VerifierKey) -> datetime | None:
    """Return when a witness last cosigned a note, having verified that it did.

    Args:
        note: A checkpoint and its signatures.
        key: The witness's key.

    Returns:
        The latest time among its cosignatures; None if the note has none of them.

    Raises:
        BadSignature: A cosignature in the name of the witness is not its own.
    """
    times = []
    for blob in note.by(key):
        seconds = int.from_bytes(blob[:8], "big")
        if len(blob) != 72 or seconds > LATEST:
            raise BadSignature(f"a cosignature in the name of {key.name} is wrong")
        key.verify(cosigned_message(note.text, seconds), blob[8:])
        times.append(datetime.fromtimestamp(seconds, UTC))
    return max(times, default=None)


def verify_quorum(note: Note, witnesses: Iterable[VerifierKey], quorum: Quorum) -> None:
    """Check that enough witnesses have cosigned a checkpoint.

    Args:
        note: The checkpoint.
        witnesses: Keys of the trusted witnesses.
        quorum: Which of them must have cosigned.

    Raises:
        BadSignature: A cosignature in the name of a trusted witness is not its own.
        QuorumMissed: Too few have.
    """
    seen = {
        key.public
        for key in witnesses
        if key.type == COSIGNATURE and cosigned_at(note, key) is not None
    }
    if not quorum.is_met(seen):
        raise QuorumMissed(quorum.found(seen), quorum.wanted)
