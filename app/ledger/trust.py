"""What a verifier trusts, has in hand and wants to know.

Trust comes from whoever verifies, never from the evidence: the keys that travel with it are
there to be compared with those obtained in another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.ledger.encoding import parse
from app.ledger.notes import VerifierKey
from app.ledger.records import Moment, moment, read_record


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


@dataclass(frozen=True)
class Expectations:
    """What the verifier trusts, has and wants.

    Attributes:
        keys: Keys of the log and of whoever signs certificates.
        witnesses: Keys of trusted witnesses.
        quorum: Which of them must have cosigned the checkpoint.
        pinned: A checkpoint that the verifier kept, as the log wrote it.
        consistency: Proof between that and the evidence's, where the evidence has none.
        request_id: The request the evidence has to be about.
        models: Files whose bytes have to be among the certified ones.
        not_before: A quorum of cosignatures must not be older than this: where no quorum is
            wanted, one of them, or without any the entry that logs the certificate.
    """

    keys: tuple[TrustedKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: Quorum = Quorum()
    pinned: bytes | None = None
    consistency: bytes | None = None
    request_id: str | None = None
    models: tuple[Path, ...] = ()
    not_before: datetime | None = None


@dataclass(frozen=True)
class _Item:
    vkey: str
    valid_from: Moment | None = None
    valid_until: Moment | None = None


@dataclass(frozen=True)
class _KeyList:
    items: tuple[_Item, ...]


def read_key_list(data: bytes) -> tuple[TrustedKey, ...]:
    """Read the list of keys that a service publishes.

    Args:
        data: ``{"items": [{"vkey", "valid_from", "valid_until"}]}``.

    Returns:
        The keys with their times.

    Raises:
        MalformedJson: Not JSON.
        MalformedRecord: Not such a list.
        MalformedKey: One is not a key.
    """
    return tuple(
        TrustedKey(VerifierKey.parse(item.vkey), _time(item.valid_from), _time(item.valid_until))
        for item in read_record(_KeyList, parse(data)).items
    )


def all_keys(trusted: Iterable[TrustedKey]) -> list[VerifierKey]:
    """Return the keys, whatever their times."""
    return [item.key for item in trusted]


def keys_at(trusted: Iterable[TrustedKey], time: datetime) -> list[VerifierKey]:
    """Return the keys whose signatures count at this time."""
    return [item.key for item in trusted if item.is_valid_at(time)]


def keys_from(trusted: Iterable[TrustedKey], time: datetime) -> list[VerifierKey]:
    """Return the keys whose signatures count at this time or at some later one."""
    return [item.key for item in trusted if item.valid_until is None or time < item.valid_until]


def _time(text: str | None) -> datetime | None:
    return None if text is None else moment(text)
