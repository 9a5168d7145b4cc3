"""Commitments: proof that something was named, without naming it.

A commitment is a keyed hash whose key, 32 random bytes, is kept apart from it. With the key,
the holder of the detail proves that this detail was logged (``disclosures``); once the key is
destroyed, the commitment is noise that no guess can be tried against, and every proof of the
log still holds.

A list is committed to as the root of a Merkle tree of such hashes. Each member has a key of
its own, derived from the key of the list, and the members stand in the order of their hashes:
what is shown to one says nothing about any other, apart from how many there are.
"""

from __future__ import annotations

import hmac
import secrets
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import starmap

from app.ledger.disclosures import KEY_SIZE, Membership, member_leaf
from app.ledger.errors import NotCommitted
from app.ledger.tree_hash import EMPTY_ROOT, HASH_SIZE, hash_children


def new_key() -> bytes:
    """Return 32 random bytes: the key of one detail or of one list."""
    return secrets.token_bytes(KEY_SIZE)


class CommittedList:
    """The list behind a commitment; whoever holds its key must be able to destroy it.

    The members themselves are not in it: a hash stands for each.
    """

    def __init__(self, members: Iterable[str], key: bytes) -> None:
        """Commit to a list.

        Args:
            members: The ids; one that occurs twice counts once.
            key: From ``new_key``. Destroying it, and ``leaves``, makes the root meaningless.

        Raises:
            ValueError: The key does not have 32 bytes.
        """
        self._key = _checked(key)
        self._leaves = sorted(
            member_leaf(member, _member_key(member, key)) for member in set(members)
        )

    @classmethod
    def stored(cls, leaves: bytes, key: bytes) -> CommittedList:
        """Return the list that ``leaves`` was taken from.

        Raises:
            ValueError: The key does not have 32 bytes, or the leaves are none.
        """
        if len(leaves) % HASH_SIZE:
            raise ValueError("a leaf has 32 bytes")
        found = cls((), key)
        places = range(0, len(leaves), HASH_SIZE)
        found._leaves = [leaves[place : place + HASH_SIZE] for place in places]
        return found

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self._leaves)

    @property
    def leaves(self) -> bytes:
        """The leaves one after the other, 32 bytes each: all that ``stored`` needs."""
        return b"".join(self._leaves)

    def root(self) -> bytes:
        """Return the commitment; 32 bytes."""
        level = self._leaves
        while len(level) > 1:
            level = _above(level)
        return level[0] if level else EMPTY_ROOT

    def prove(self, member: str) -> Membership:
        """Return what shows this member, and nobody else, to be in the list.

        Raises:
            NotCommitted: It is not in the list.
        """
        own_key = _member_key(member, self._key)
        leaf = member_leaf(member, own_key)
        index = bisect_left(self._leaves, leaf)
        if self._leaves[index : index + 1] != [leaf]:
            raise NotCommitted("there is no such member")
        hashes, place, level = [], index, self._leaves
        while len(level) > 1:
            hashes += level[place ^ 1 : (place ^ 1) + 1]
            place, level = place >> 1, _above(level)
        return Membership(index, own_key.hex(), tuple(part.hex() for part in hashes))


def _above(level: Sequence[bytes]) -> list[bytes]:
    """Return the next level of the tree: what has no sibling moves up as it is.

    The same tree as that of RFC 9162, which is defined from the root down.
    """
    pairs = zip(level[::2], level[1::2], strict=False)
    return [*starmap(hash_children, pairs), *level[len(level) & ~1 :]]


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_SIZE:
        raise ValueError("the key of a commitment has 32 bytes")
    return key


def _member_key(member: str, key: bytes) -> bytes:
    return hmac.digest(key, b"lethe/member-key/v1\x00" + member.encode(), "sha256")
