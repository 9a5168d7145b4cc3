"""The stored tree: its size, its nodes and its proofs."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.domain.log import Leaf, TreeNode
from app.ledger.merkle import Node, Read, root_of

MOST_NODES = 5000
"""Of a query; SQLite takes at most 32,766 parameters."""


def size_of(tx: Session) -> int:
    """Return how many leaves the log has."""
    last = tx.scalar(select(func.max(Leaf.index)))
    return 0 if last is None else last + 1


def reader(tx: Session) -> Read:
    """Return what fetches stored hashes for proofs: two queries for a proof, whatever its size."""

    def read(nodes: Sequence[Node]) -> dict[Node, bytes]:
        found: dict[Node, bytes] = {}
        for start in range(0, len(nodes), MOST_NODES):
            wanted = nodes[start : start + MOST_NODES]
            leaves = [node.position for node in wanted if node.level == 0]
            if leaves:
                query = select(Leaf.index, Leaf.leaf_hash).where(Leaf.index.in_(leaves))
                found |= {Node(0, index): hashed for index, hashed in tx.execute(query)}
            inner: dict[int, list[int]] = defaultdict(list)
            for node in wanted:
                if node.level:
                    inner[node.level].append(node.position)
            if inner:
                # Pairs in one IN would make SQLite read the whole table.
                places = (
                    (TreeNode.level == level) & TreeNode.position.in_(positions)
                    for level, positions in sorted(inner.items())
                )
                rows = select(TreeNode.level, TreeNode.position, TreeNode.hash).where(or_(*places))
                for level, position, hashed in tx.execute(rows):
                    found[Node(level, position)] = hashed
        return found

    return read


def root_at(tx: Session, size: int) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return root_of(size, reader(tx))
