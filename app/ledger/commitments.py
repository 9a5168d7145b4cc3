"""Commitments: proof that something was named, without naming it.

A commitment is a keyed hash whose key, 32 random bytes, is kept apart from it. With the key,
the holder of the detail proves that this detail was logged; once the key is destroyed, the
commitment is noise that no guess can be tried against, and every proof of the log still holds.

A list is committed to as the root of a Merkle tree of such hashes. Each member has a key of
its own, derived from the key of the list, and the members stand in the order of their hashes:
what is shown to one says nothing about any other, apart from how many there are.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from app.ledger.errors import BadInclusion, NotCommitted
from app.ledger.inclusion import verify_inclusion
from app.ledger.merkle import Frontier, MemoryTree, prove_inclusion
from app.ledger.records import Count, Digest
from app.ledger.tree_hash import hash_leaf

KEY_SIZE = 32


def new_key() -> bytes:
    """Return 32 random bytes: the key of one detail or of one list."""
    return secrets.token_bytes(KEY_SIZE)


def commit(detail: bytes, key: bytes) -> bytes:
    """Return HMAC-SHA256 of a detail; 32 bytes.

    Args:
        detail: What is committed to.
        key: From ``new_key``, used for nothing else.

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


@dataclass(frozen=True)
class Membership:
    """What one member of a list is given to prove that it is in it.

    Attributes:
        index: Place in the list.
        key: The member's own key, in hexadecimal.
        hashes: The proof of inclusion, in hexadecimal, the sibling first.
    """

    index: Count
    key: Digest
    hashes: tuple[Digest, ...]


class CommittedList:
    """The list behind a commitment; whoever holds it must be able to destroy it."""

    def __init__(self, members: Iterable[str], key: bytes) -> None:
        """Commit to a list.

        Args:
            members: The ids; one that occurs twice counts once.
            key: From ``new_key``. Destroying it, and the list, makes the root meaningless.

        Raises:
            ValueError: The key does not have 32 bytes.
        """
        if len(key) != KEY_SIZE:
            raise ValueError("the key of a commitment has 32 bytes")
        self._key = key
        self._leaves = sorted(_leaf(member, _member_key(member, key)) for member in set(members))

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self._leaves)

    def root(self) -> bytes:
        """Return the commitment; 32 bytes."""
        return Frontier().extended(self._leaves)[0].root()

    def prove(self, member: str) -> Membership:
        """Return what shows this member, and nobody else, to be in the list.

        Raises:
            NotCommitted: It is not in the list.
        """
        own_key = _member_key(member, self._key)
        try:
            index = self._leaves.index(_leaf(member, own_key))
        except ValueError as error:
            raise NotCommitted("there is no such member") from error
        tree = MemoryTree(self._leaves)
        hashes = prove_inclusion(index, self.size, tree.read)
        return Membership(index, own_key.hex(), tuple(part.hex() for part in hashes))


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
        key = bytes.fromhex(membership.key)
        verify_inclusion(
            index=membership.index,
            size=size,
            leaf_hash=_leaf(member, key),
            proof=[bytes.fromhex(part) for part in membership.hashes],
            root=root,
        )
    except (BadInclusion, ValueError) as error:
        raise NotCommitted("the member is not shown to be in the list") from error


def _member_key(member: str, key: bytes) -> bytes:
    return hmac.digest(key, b"lethe/member-key/v1\x00" + member.encode(), "sha256")


def _leaf(member: str, key: bytes) -> bytes:
    return hash_leaf(hmac.digest(key, b"lethe/member/v1\x00" + member.encode(), "sha256"))
