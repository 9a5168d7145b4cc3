"""Whom a reader trusts: logs, witnesses, and which of these must have cosigned (C2SP tlog-policy).

A policy is a small text that people write and exchange::

    log log.example/lethe+1234abcd+AQ...
    witness north witness.example/north+5678abcd+BA... https://witness.example/north
    witness south witness.example/south+9abcdef0+BA...
    group both all north south
    quorum both

The same text says to a log which witnesses to ask, and to a witness which logs to cosign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.ledger.encoding import is_decimal
from app.ledger.errors import MalformedKey, MalformedPolicy
from app.ledger.notes import COSIGNATURE, ED25519, VerifierKey
from app.ledger.trust import Quorum

NONE = "none"
LARGEST_POLICY = 1 << 16
"""Bytes; room for far more than the 32 logs, witnesses and groups every reader has to accept."""


@dataclass(frozen=True)
class Party:
    """A log or a witness.

    Attributes:
        key: Its key.
        url: Where it listens; None if the policy does not say.
    """

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True)
class Policy:
    """What a policy file says.

    Attributes:
        logs: Logs that are trusted.
        witnesses: Witnesses by the name that they have in the file.
        quorum: Who must have cosigned.
    """

    logs: tuple[Party, ...]
    witnesses: Mapping[str, Party]
    quorum: Quorum

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Read a policy.

        Raises:
            MalformedPolicy: It is none.
        """
        if len(data) > LARGEST_POLICY or any(byte < 32 and byte not in b"\t\n" for byte in data):
            raise MalformedPolicy("the policy is too large or holds a control character")
        reader = _Reader()
        # Names are octets to the format: what is no UTF-8 has to survive, too.
        lines = data.decode(errors="surrogateescape").split("\n")
        for number, line in enumerate(lines, 1):
            words = [word for word in line.replace("\t", " ").split(" ") if word]
            try:
                if words and not words[0].startswith("#"):
                    reader.take(*words)
            except MalformedPolicy as error:
                raise MalformedPolicy(f"line {number}: {error}") from error
        if reader.quorum is None:
            raise MalformedPolicy("the policy has no line for the quorum")
        return cls(tuple(reader.logs), reader.witnesses, reader.quorum)


class _Reader:
    """What the lines so far have defined."""

    def __init__(self) -> None:
        self.logs: list[Party] = []
        self.witnesses: dict[str, Party] = {}
        self.quorum: Quorum | None = None
        self._defined: dict[str, Quorum | bytes] = {}
        self._members: set[str] = set()

    def take(self, word: str, *rest: str) -> None:
        """Read one line.

        Raises:
            MalformedPolicy: It is of none of the known forms, or contradicts those before.
        """
        match word, rest:
            case "log", (key, *url) if len(url) < 2:
                self._add_log(_party(ED25519, key, url))
            case "witness", (name, key, *url) if len(url) < 2:
                party = _party(COSIGNATURE, key, url)
                if party.key.public in {other.key.public for other in self.witnesses.values()}:
                    raise MalformedPolicy("two witnesses have one key")
                self._define(name, party.key.public)
                self.witnesses[name] = party
            case "group", (name, wanted, *members) if members:
                self._define(name, self._group(wanted, members))
            case "quorum", (name,) if self.quorum is None:
                self.quorum = self._quorum(name)
            case _:
                raise MalformedPolicy("a line of the policy is not of a form that is known")

    def _add_log(self, party: Party) -> None:
        if party.key.public in {other.key.public for other in self.logs}:
            raise MalformedPolicy("two logs have one key")
        self.logs.append(party)

    def _define(self, name: str, what: Quorum | bytes) -> None:
        if name in self._defined or name == NONE:
            raise MalformedPolicy("a name is defined twice")
        self._defined[name] = what

    def _quorum(self, name: str) -> Quorum:
        if name == NONE:
            return Quorum()
        found = self._known(name)
        return found if isinstance(found, Quorum) else Quorum(1, frozenset([found]))

    def _known(self, name: str) -> Quorum | bytes:
        if name not in self._defined:
            raise MalformedPolicy("a name is used that no line before defines")
        return self._defined[name]

    def _group(self, wanted: str, names: list[str]) -> Quorum:
        members = frozenset(map(self._known, names))
        if len(set(names)) != len(names) or not self._members.isdisjoint(names):
            raise MalformedPolicy("a name is a member twice")
        self._members.update(names)
        counts = {"any": 1, "all": len(names)}
        if wanted not in counts and not is_decimal(wanted):
            raise MalformedPolicy("a group does not say how many of its members count")
        count = counts.get(wanted) or int(wanted)
        if not 1 <= count <= len(names):
            raise MalformedPolicy("a group asks for more members than it has, or for none")
        return Quorum(count, members)


def _party(type: int, key: str, url: list[str]) -> Party:
    try:
        parsed = VerifierKey.parse(key)
    except (MalformedKey, UnicodeEncodeError) as error:
        raise MalformedPolicy("a key of the policy is none") from error
    if parsed.type != type:
        raise MalformedPolicy("a key of the policy is of the other type")
    return Party(parsed, url[0] if url else None)
