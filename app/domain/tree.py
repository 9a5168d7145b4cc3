"""The stored tree: its size, its nodes and its proofs."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.log import Leaf, TreeNode
from app.ledger.merkle import Node, Read, root_of


def size_of(tx: Session) -> int:
    """Return how many leaves the log has."""
    last = tx.scalar(select(func.max(Leaf.index)))
    return 0 if last is None else last + 1


def reader(tx: Session) -> Read:
    """Return what fetches stored hashes for proofs; one query for each level of a proof."""

    def read(nodes: Sequence[Node]) -> dict[Node, bytes]:
        by_level: dict[int, list[int]] = defaultdict(list)
        for node in nodes:
            by_level[node.level].append(node.position)
        found: dict[Node, bytes] = {}
        for level, positions in by_level.items():
            query = (
                select(Leaf.index, Leaf.leaf_hash).where(Leaf.index.in_(positions))
                if level == 0
                else select(TreeNode.position, TreeNode.hash).where(
                    TreeNode.level == level, TreeNode.position.in_(positions)
                )
            )
            for position, hashed in tx.execute(query):
                found[Node(level, position)] = hashed
        return found

    return read


def root_at(tx: Session, size: int) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return root_of(size, reader(tx))
