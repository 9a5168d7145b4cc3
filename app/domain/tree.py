"""The stored tree: its size, its nodes and its proofs."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from app.domain.log import Leaf
from app.ledger.merkle import Node, Read, root_of

MOST_NODES = 4096
"""Of a query; SQLite takes at most 32,766 parameters, two for each node."""


def size_of(tx: Session) -> int:
    """Return how many leaves the log has."""
    last = tx.scalar(select(func.max(Leaf.index)))
    return 0 if last is None else last + 1


def reader(tx: Session) -> Read:
    """Return what fetches stored hashes for proofs: one query for a proof, whatever its size."""

    def read(nodes: Sequence[Node]) -> dict[Node, bytes]:
        found: dict[Node, bytes] = {}
        for start in range(0, len(nodes), MOST_NODES):
            wanted = nodes[start : start + MOST_NODES]
            # Filled up to a power of two: few different statements, each prepared once.
            count = 1 << (len(wanted) - 1).bit_length()
            values: dict[str, int] = {}
            for place in range(count):
                node = wanted[min(place, len(wanted) - 1)]
                values[f"l{place}"], values[f"p{place}"] = node
            for level, position, hashed in tx.execute(_query(count), values):
                found[Node(level, position)] = bytes(hashed)
        return found

    return read


def root_at(tx: Session, size: int) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return root_of(size, reader(tx))


@lru_cache(maxsize=MOST_NODES.bit_length())
def _query(count: int) -> TextClause:
    """Return the query for ``count`` nodes; as expressions it takes longer to build than to run.

    CROSS JOIN lets SQLite look up what is wanted, in this order, instead of reading whole tables.
    """
    pairs = ", ".join(
        f"(CAST(:l{place} AS INTEGER), CAST(:p{place} AS BIGINT))" for place in range(count)
    )
    return text(
        f"WITH wanted (level, position) AS (VALUES {pairs})"  # noqa: S608 - names of our own
        " SELECT wanted.level, wanted.position, hash FROM wanted CROSS JOIN log_nodes"
        " WHERE log_nodes.level = wanted.level AND log_nodes.position = wanted.position"
        " UNION ALL SELECT wanted.level, wanted.position, leaf_hash"
        ' FROM wanted CROSS JOIN log_leaves WHERE wanted.level = 0 AND "index" = wanted.position'
    )
