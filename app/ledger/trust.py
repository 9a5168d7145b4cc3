"""Whose signatures count: of a key in its time, and of how many witnesses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.ledger.notes import VerifierKey


@dataclass(frozen=True)
class TrustedKey:
    """A key and when its signatures count.

    Attributes:
        key: The key.
        valid_from: From when on; None for ever before.
        valid_until: Up to, not including, when; None while it is not retired.
    """

    key: VerifierKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def is_valid_at(self, time: datetime) -> bool:
        """Whether a signature made at this time counts."""
        return (self.valid_from is None or self.valid_from <= time) and (
            self.valid_until is None or time < self.valid_until
        )


@dataclass(frozen=True)
class Quorum:
    """Members of which so many must have cosigned a checkpoint.

    Attributes:
        wanted: How many; 0 asks for nothing.
        members: Public keys of witnesses, 32 bytes each, and groups with a quorum of their own;
            each counts once.
    """

    wanted: int = 0
    members: frozenset[Quorum | bytes] = frozenset()

    @classmethod
    def of(cls, wanted: int, witnesses: Iterable[VerifierKey]) -> Quorum:
        """Return the quorum of so many of these witnesses.

        One public key counts once, whatever its names: a cosignature does not cover the name.
        """
        return cls(wanted, frozenset(key.public for key in witnesses))

    def found(self, cosigners: Iterable[bytes]) -> int:
        """Return how many members have cosigned, given the public keys that did."""
        seen = frozenset(cosigners)
        return sum(
            member in seen if isinstance(member, bytes) else member.is_met(seen)
            for member in self.members
        )

    def is_met(self, cosigners: Iterable[bytes]) -> bool:
        """Whether enough members have cosigned."""
        return self.found(cosigners) >= self.wanted
