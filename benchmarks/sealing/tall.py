"""A tree of ten million leaves: proofs from it are made, verified and counted.

The tree goes by once, leaf by leaf. Only its frontier is held, and the nodes that the chosen
proofs need: which those are is known before any leaf is.
"""

import random
import time
from collections.abc import Iterator, Sequence

from app.ledger.consistency import verify_consistency
from app.ledger.inclusion import verify_inclusion
from app.ledger.merkle import Frontier, Node, prove_consistency, prove_inclusion, root_of
from app.ledger.tree_hash import hash_leaf
from benchmarks.sealing.apart import most_memory

CHOSEN = 200
CHUNK = 10_000
UNKNOWN = bytes(32)


class Shelf:
    """Nodes of a tree: first it learns which ones are read, then it gives those out."""

    def __init__(self) -> None:
        """Begin without any."""
        self.nodes: dict[Node, bytes] = {}

    def read(self, nodes: Sequence[Node]) -> dict[Node, bytes]:
        """Return hashes; an unknown one is noted, and is zeros."""
        return {node: self.nodes.setdefault(node, UNKNOWN) for node in nodes}

    def put(self, node: Node, reached: bytes) -> None:
        """Keep a hash if it is ever read."""
        if node in self.nodes:
            self.nodes[node] = reached


def measure(leaves: int) -> dict[str, float]:
    """Build the tree and verify proofs of inclusion and of consistency.

    Args:
        leaves: How many.

    Returns:
        ``inclusion`` and ``consistency``: hashes of the longest proof. ``hashed``: leaves a
        second. ``growth``: MiB by which the process grew.

    Raises:
        BadInclusion: A proof of inclusion is wrong.
        BadConsistency: A proof of consistency is wrong.
    """
    before = most_memory()
    generator = random.Random(0)
    indexes = [0, leaves - 1, *(generator.randrange(leaves) for _ in range(CHOSEN))]
    sizes = sorted({index + 1 for index in indexes})
    shelf = Shelf()
    for index in indexes:
        prove_inclusion(index, leaves, shelf.read)
    for size in sizes:
        prove_consistency(size, leaves, shelf.read)
        root_of(size, shelf.read)
    started = time.perf_counter()
    frontier = Frontier()
    for chunk in _chunks(leaves):
        frontier, complete = frontier.extended(chunk)
        for node, reached in complete.items():
            shelf.put(node, reached)
    seconds = time.perf_counter() - started
    return {
        "leaves": leaves,
        "inclusion": max(_verify_inclusion(index, frontier, shelf) for index in indexes),
        "consistency": max(_verify_consistency(size, frontier, shelf) for size in sizes),
        "hashed": leaves / seconds,
        "growth": most_memory() - before,
    }


def _leaf_hash(index: int) -> bytes:
    return hash_leaf(index.to_bytes(8, "big"))


def _chunks(leaves: int) -> Iterator[list[bytes]]:
    for start in range(0, leaves, CHUNK):
        yield [_leaf_hash(index) for index in range(start, min(leaves, start + CHUNK))]


def _verify_inclusion(index: int, tree: Frontier, shelf: Shelf) -> int:
    proof = prove_inclusion(index, tree.size, shelf.read)
    verify_inclusion(
        index=index, size=tree.size, leaf_hash=_leaf_hash(index), proof=proof, root=tree.root()
    )
    return len(proof)


def _verify_consistency(size: int, tree: Frontier, shelf: Shelf) -> int:
    proof = prove_consistency(size, tree.size, shelf.read)
    verify_consistency(
        size=size,
        root=root_of(size, shelf.read),
        later_size=tree.size,
        later_root=tree.root(),
        proof=proof,
    )
    return len(proof)
