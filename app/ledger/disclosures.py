"""What is disclosed about a request beside its certificate: one member, or the whole detail.

The log holds commitments alone. Whoever is given a disclosure can check, offline, that it is
about what was logged (``verify_disclosed``); nobody learns anything from it about what was not
disclosed. Once the service has destroyed its keys it can make no more of them; those made before
stay valid.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from app.ledger.errors import BadInclusion, NotCommitted
from app.ledger.inclusion import verify_inclusion
from app.ledger.records import Count, Digest, Name
from app.ledger.tree_hash import hash_leaf

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
