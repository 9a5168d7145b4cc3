"""An append-only Merkle tree that gives proofs at the cost of O(log n) reads (RFC 9162, 2.1).

A node is addressed by level and position: node (l, p) is over the leaves from p * 2^l up to
(p + 1) * 2^l. Only complete subtrees are stored, so a stored node never changes and a tree
of n leaves keeps fewer than 2 n hashes. Every hash of a proof is over a span of leaves; a
span is tiled by complete subtrees, and at most one span of a proof needs more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from app.ledger.errors import OutOfRange
from app.ledger.tree_hash import EMPTY_ROOT, hash_children


class Node(NamedTuple):
    """The address of a complete subtree: over leaves ``position * 2**level`` and following."""

    level: int
    position: int


class Span(NamedTuple):
    """Leaves from ``start`` up to, not including, ``stop``."""

    start: int
    stop: int


Read: TypeAlias = Callable[[Sequence[Node]], Mapping[Node, bytes]]
"""Fetches stored hashes, all those of one proof at once."""


def tiling(span: Span) -> list[Node]:
    """Return the largest complete subtrees over a span, from left to right.

    Args:
        span: Leaves that a node of some tree is over: ``start`` is a multiple of the
            smallest power of two that is at least as large as the span.

    >>> tiling(Span(0, 6))
    [Node(level=2, position=0), Node(level=1, position=2)]
    """
    nodes = []
    start, stop = span
    while start < stop:
        level = (stop - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def inclusion_path(index: int, size: int) -> list[Span]:
    """Return the spans whose hashes prove that a leaf is in the tree, the sibling first.

    Args:
        index: Place of the leaf, from 0.
        size: How many leaves the tree has.

    Raises:
        OutOfRange: The tree has no such leaf.
    """
    if not 0 <= index < size:
        raise OutOfRange("the tree has no leaf at this index")
    path = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _left_size(stop - start)
        if index < middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def consistency_path(size: int, later_size: int) -> list[Span]:
    """Return the spans whose hashes prove that a tree continues an earlier one.

    SUBPROOF of RFC 9162, section 2.1.4.1, from the top down.

    Args:
        size: How many leaves the earlier tree has; at least 1.
        later_size: How many leaves the later tree has.

    Raises:
        OutOfRange: There is no proof between trees of these sizes.
    """
    if not 1 <= size <= later_size:
        raise OutOfRange("there is no proof between trees of these sizes")
    path = []
    start, stop = 0, later_size
    while stop != size:
        middle = start + _left_size(stop - start)
        if size <= middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start = middle
    if start > 0:
        path.append(Span(start, stop))
    return path[::-1]


def hashes_of(spans: Sequence[Span], read: Read) -> list[bytes]:
    """Return the hash over each span, reading every node that is needed at once."""
    tilings = [tiling(span) for span in spans]
    stored = read([node for nodes in tilings for node in nodes])
    return [_folded([stored[node] for node in nodes]) for nodes in tilings]


def root_of(size: int, read: Read) -> bytes:
    """Return the root of the tree of the first ``size`` leaves."""
    return hashes_of([Span(0, size)], read)[0]


def prove_inclusion(index: int, size: int, read: Read) -> list[bytes]:
    """Return the proof that leaf ``index`` is in the tree of ``size`` leaves.

    Args:
        index: Place of the leaf, from 0.
        size: How many leaves the tree has; any size up to that of the stored tree.
        read: Fetches stored hashes.

    Raises:
        OutOfRange: The tree has no such leaf.
    """
    return hashes_of(inclusion_path(index, size), read)


def prove_consistency(size: int, later_size: int, read: Read) -> list[bytes]:
    """Return the proof that the tree of ``later_size`` leaves continues that of ``size``.

    Args:
        size: How many leaves the earlier tree has; at least 1.
        later_size: How many leaves the later tree has.
        read: Fetches stored hashes.

    Raises:
        OutOfRange: There is no proof between trees of these sizes.
    """
    return hashes_of(consistency_path(size, later_size), read)


@dataclass(frozen=True)
class Frontier:
    """All that is needed to append to a tree: its size and at most 64 hashes.

    Attributes:
        size: How many leaves the tree has.
        hashes: Hashes over the tiling of all leaves, from left to right.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def stored(cls, size: int, read: Read) -> Frontier:
        """Return the frontier of a stored tree."""
        nodes = tiling(Span(0, size))
        stored = read(nodes)
        return cls(size, tuple(stored[node] for node in nodes))

    def root(self) -> bytes:
        """Return the root of the tree; 32 bytes."""
        return _folded(self.hashes)

    def extended(self, leaf_hashes: Iterable[bytes]) -> tuple[Frontier, dict[Node, bytes]]:
        """Append leaves.

        Args:
            leaf_hashes: Hashes of the leaves, 32 bytes each.

        Returns:
            The frontier after them, and every node that became complete, leaves included:
            exactly what has to be stored.
        """
        size, hashes = self.size, list(self.hashes)
        complete: dict[Node, bytes] = {}
        for leaf in leaf_hashes:
            node, reached = Node(0, size), leaf
            complete[node] = reached
            while node.position & 1:
                node, reached = (
                    Node(node.level + 1, node.position >> 1),
                    hash_children(hashes.pop(), reached),
                )
                complete[node] = reached
            hashes.append(reached)
            size += 1
        return Frontier(size, tuple(hashes)), complete


class MemoryTree:
    """A whole tree in memory, for short lists and for whoever reads a log again."""

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        """Begin with these leaves."""
        self._frontier = Frontier()
        self._nodes: dict[Node, bytes] = {}
        self.extend(leaf_hashes)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._frontier.size

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append leaves, given by their hashes."""
        self._frontier, complete = self._frontier.extended(leaf_hashes)
        self._nodes.update(complete)

    def read(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """Return the hashes of stored nodes.

        Raises:
            OutOfRange: A node is not complete yet.
        """
        try:
            return {node: self._nodes[node] for node in nodes}
        except KeyError as error:
            raise OutOfRange("the tree is smaller than that") from error

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves, by default of all."""
        return root_of(self.size if size is None else size, self.read)


def _left_size(size: int) -> int:
    """Return the largest power of two below ``size``: where a tree is split."""
    return 1 << ((size - 1).bit_length() - 1)


def _folded(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    *others, reached = hashes
    for left in reversed(others):
        reached = hash_children(left, reached)
    return reached
