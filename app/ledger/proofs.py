"""A leaf's proof together with the checkpoint it leads to, in one file (C2SP tlog-proof).

Whoever trusts the keys can check it offline, knowing the leaf. Files end in ``.tlog-proof``.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.ledger.encoding import from_base64, is_decimal, to_base64
from app.ledger.errors import MalformedProof
from app.ledger.tree_hash import HASH_SIZE

FORMAT = "c2sp.org/tlog-proof@v1"
LONGEST = 63
"""Hashes of a proof; a tree whose size fits into 63 bits is not deeper."""


@dataclass(frozen=True)
class LogProof:
    """A proof of inclusion, not verified.

    Attributes:
        index: Place of the leaf in the log, from 0.
        hashes: Hashes from the leaf's sibling up, 32 bytes each.
        checkpoint: The signed note of the tree they lead to, as its log wrote it.
        extra: Bytes that nothing vouches for; None if there are none.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> LogProof:
        """Read a proof; its checkpoint is not looked into.

        Raises:
            MalformedProof: The bytes are not a proof.
        """
        head, gap, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise MalformedProof("the proof is not ASCII") from error
        if not gap or lines.pop(0) != FORMAT:
            raise MalformedProof(f"the file is not of the format {FORMAT}")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _bytes(lines.pop(0).removeprefix("extra "))
        word, _, index = lines.pop(0).partition(" ") if lines else ("", "", "")
        if word != "index" or not is_decimal(index):
            raise MalformedProof("the proof names no index")
        hashes = tuple(map(_bytes, lines))
        if len(hashes) > LONGEST or any(len(part) != HASH_SIZE for part in hashes):
            raise MalformedProof("a line of the proof is not a hash, or there are too many")
        return cls(int(index), hashes, checkpoint, extra)

    def __bytes__(self) -> bytes:
        """Write the proof."""
        lines = [FORMAT]
        if self.extra is not None:
            lines.append(f"extra {to_base64(self.extra)}")
        lines += [f"index {self.index}", *map(to_base64, self.hashes)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def _bytes(text: str) -> bytes:
    try:
        return from_base64(text)
    except ValueError as error:
        raise MalformedProof("a line of the proof is not base 64") from error
