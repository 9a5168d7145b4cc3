"""What is disclosed about a request beside its certificate: one member, or the whole detail.

The log holds commitments alone. Whoever is given a disclosure can check, offline, that it is
about what was logged; nobody learns anything from it about what was not disclosed. Once the
service has destroyed its keys it can make no more of them; those made before stay valid.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.ledger.certificates import Certificate
from app.ledger.encoding import parse
from app.ledger.entries import Entry
from app.ledger.envelopes import Envelope
from app.ledger.errors import BadInclusion, NotCommitted, OtherRequest
from app.ledger.inclusion import verify_inclusion
from app.ledger.records import Count, Digest, Name, read_record
from app.ledger.tree_hash import hash_leaf
from app.ledger.verify import ENVELOPE, Expectations, verify_evidence

KEY_SIZE = 32


@dataclass(frozen=True)
class Membership:
    """What shows that one member is in a committed list.

    Attributes:
        index: Place in the list.
        key: The member's own key, in hexadecimal.
        hashes: The proof of inclusion, in hexadecimal, the sibling first.
    """

    index: Count
    key: Digest
    hashes: tuple[Digest, ...]


@dataclass(frozen=True)
class DisclosedMember:
    """One member of what a request named, as it is handed to whom it concerns.

    Attributes:
        request_id: The request.
        member: The id, after its kind: ``sample:...`` or ``subject:...``.
        membership: The proof.
    """

    request_id: Name
    member: str
    membership: Membership

    @classmethod
    def parse(cls, data: bytes) -> DisclosedMember:
        """Read one from JSON.

        Raises:
            MalformedJson: Not JSON of our kind.
            MalformedRecord: Something else.
        """
        return read_record(cls, parse(data))


@dataclass(frozen=True)
class DisclosedDetail:
    """What a request asked for, in full, with the key that opens its commitment.

    Attributes:
        request_id: The request.
        detail: The text that was committed to, exactly.
        key: In hexadecimal.
    """

    request_id: Name
    detail: str
    key: Digest

    @classmethod
    def parse(cls, data: bytes) -> DisclosedDetail:
        """Read one from JSON.

        Raises:
            MalformedJson: Not JSON of our kind.
            MalformedRecord: Something else.
        """
        return read_record(cls, parse(data))

    def verify(self, commitment: bytes) -> None:
        """Check that this is what was committed to.

        Raises:
            NotCommitted: It is not, or the key is another.
        """
        verify_commitment(commitment, self.detail.encode(), bytes.fromhex(self.key))


def verify_disclosed(
    files: Mapping[str, bytes],
    expected: Expectations,
    *,
    members: Sequence[DisclosedMember] = (),
    details: Sequence[DisclosedDetail] = (),
) -> str:
    """Verify evidence, and what was disclosed against it.

    Args:
        files: The evidence.
        expected: What whoever verifies trusts, has and wants.
        members: Members that the request has to have named.
        details: What it has to have asked for.

    Returns:
        The verifier's sentence.

    Raises:
        Refused: The evidence is refused.
        OtherRequest: A disclosure is about another request.
        NotCommitted: It is not what was logged.
    """
    said = verify_evidence(files, expected)
    certificate = Certificate.parse(Envelope.parse(files[ENVELOPE]).payload)
    concerned = {item.request_id for item in members} | {item.request_id for item in details}
    if not concerned <= {certificate.request.id}:
        raise OtherRequest("what was disclosed is about another request")
    committed = certificate.request.commitment
    root = bytes.fromhex(committed.root)
    for item in members:
        verify_membership(item.member, item.membership, root=root, size=committed.size)
    cited = [Entry.parse(files[f"entries/{place.index}.json"]) for place in certificate.log.entries]
    logged = [entry for entry in cited if entry.request_id == certificate.request.id]
    commitments = {entry.detail_commitment for entry in logged} - {None}
    for detail in details:
        if len(commitments) != 1:
            raise NotCommitted("the log commits to no detail, or to several")
        detail.verify(bytes.fromhex(str(*commitments)))
    return said


def commit(detail: bytes, key: bytes) -> bytes:
    """Return HMAC-SHA256 of a detail; 32 bytes.

    Args:
        detail: What is committed to.
        key: 32 random bytes, used for nothing else.

    Raises:
        ValueError: The key does not have 32 bytes.
    """
    if len(key) != KEY_SIZE:
        raise ValueError("the key of a commitment has 32 bytes")
    return hmac.digest(key, detail, "sha256")


def verify_commitment(commitment: bytes, detail: bytes, key: bytes) -> None:
    """Check that a detail is what was committed to.

    Raises:
        NotCommitted: It is not, or the key is another.
    """
    if len(key) != KEY_SIZE or not hmac.compare_digest(commit(detail, key), commitment):
        raise NotCommitted("the detail is not the one committed to")


def verify_membership(member: str, membership: Membership, *, root: bytes, size: int) -> None:
    """Check that a member is in the list that a certificate commits to.

    Args:
        member: The id.
        membership: What its holder was given.
        root: The commitment.
        size: How many members the certificate says there are.

    Raises:
        NotCommitted: It is not shown to be in that list.
    """
    try:
        verify_inclusion(
            index=membership.index,
            size=size,
            leaf_hash=member_leaf(member, bytes.fromhex(membership.key)),
            proof=[bytes.fromhex(part) for part in membership.hashes],
            root=root,
        )
    except (BadInclusion, ValueError) as error:
        raise NotCommitted("the member is not shown to be in the list") from error


def member_leaf(member: str, key: bytes) -> bytes:
    """Return the hash under which a list holds a member; 32 bytes.

    Args:
        member: The id.
        key: The member's own.
    """
    return hash_leaf(hmac.digest(key, b"lethe/member/v1\x00" + member.encode(), "sha256"))
