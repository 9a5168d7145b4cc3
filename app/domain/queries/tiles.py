"""Tiles of the log (C2SP tlog-tiles): parts of the tree that never change.

A tile is shown once a signed checkpoint is over all of it.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.errors import NotFound
from app.domain.log import Leaf, TreeNode
from app.domain.queries.log import newest
from app.ledger.errors import MalformedTile
from app.ledger.tiles import WIDTH, Tile


def tile(tx: Session, path: str) -> bytes:
    """Return the hashes of a tile, 32 bytes each.

    Args:
        tx: The transaction.
        path: ``<level>/<index>[.p/<width>]``.

    Raises:
        NotFound: There is no such tile, or not yet.
    """
    found = _shown(tx, path)
    if found.level is None:
        raise NotFound("There is no such tile")
    first, last = found.index * WIDTH, found.last.position
    if found.level == 0:
        query = select(Leaf.leaf_hash).where(Leaf.index.between(first, last)).order_by(Leaf.index)
    else:
        query = (
            select(TreeNode.hash)
            .where(TreeNode.level == found.last.level, TreeNode.position.between(first, last))
            .order_by(TreeNode.position)
        )
    return b"".join(tx.scalars(query))


def bundle(tx: Session, path: str) -> bytes:
    """Return the leaves below a tile of level 0, each behind its length in two bytes.

    They are those of all tenants, so they are not for any one of them.

    Args:
        tx: The transaction.
        path: ``entries/<index>[.p/<width>]``.

    Raises:
        NotFound: There is no such bundle, or not yet.
    """
    found = _shown(tx, path)
    query = (
        select(Leaf.leaf)
        .where(Leaf.index.between(found.index * WIDTH, found.last.position))
        .order_by(Leaf.index)
    )
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in tx.scalars(query))


def _shown(tx: Session, path: str) -> Tile:
    try:
        found = Tile.parse(path)
    except MalformedTile:
        raise NotFound("There is no such tile") from None
    signed = newest(tx)
    if signed is None or not found.is_within(signed.size):
        raise NotFound("There is no such tile")
    return found
