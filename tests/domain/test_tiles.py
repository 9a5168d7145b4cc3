"""Tiles of a log that is deep enough for a third level of them."""

from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import insert

from app.domain import tree
from app.domain.audit import AuditEntry
from app.domain.log import Leaf, SignedCheckpoint, TreeNode
from app.domain.queries import tiles
from app.infra import clock
from app.infra.db import reading, writing
from app.ledger.merkle import Frontier
from tests.tiling import hashes_at, leaves_of, path_of, root_from_tiles, root_of

SIZE = 65_536 + 700
CHUNK = 4096


def fill(size: int) -> list[bytes]:
    """Write a log as the sequencer leaves it, without its way through the queue."""
    frontier, hashes = Frontier(), []
    for start in range(0, size, CHUNK):
        numbers = range(start, min(size, start + CHUNK))
        leaves = [b"%d" % number for number in numbers]
        fresh = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
        frontier, complete = frontier.extended(fresh)
        hashes += fresh
        with writing() as tx:
            tx.execute(insert(AuditEntry), [
                {"id": f"evt_{n}", "tenant_id": "ten_a", "time": clock.now(), "type": "thing.made",
                 "actor": "service:system", "entity_kind": "thing", "entity_id": "x", "facts": {}}
                for n in numbers
            ])  # fmt: skip
            tx.execute(insert(Leaf), [
                {"index": n, "entry_id": f"evt_{n}", "tenant_id": "ten_a", "leaf": leaf,
                 "leaf_hash": hashed}
                for n, leaf, hashed in zip(numbers, leaves, fresh, strict=True)
            ])  # fmt: skip
            tx.execute(insert(TreeNode), [
                {"level": node.level, "position": node.position, "hash": hashed}
                for node, hashed in complete.items()
                if node.level
            ])  # fmt: skip
    with writing() as tx:
        root = tree.root_at(tx, size)
        tx.add(SignedCheckpoint(size=size, root=root, note=b""))
    return hashes


@pytest.mark.slow
def test_the_root_of_a_deep_log_is_rebuilt_from_tiles(sqlite_home: Path) -> None:
    hashes = fill(SIZE)

    def fetch(path: str) -> bytes:
        with reading() as tx:
            return tiles.tile(tx, path)

    def bundle(path: str) -> bytes:
        with reading() as tx:
            return tiles.bundle(tx, path)

    root = root_of(hashes)
    assert root_from_tiles(fetch, SIZE) == root
    with reading() as tx:
        assert tree.root_at(tx, SIZE) == root
    assert hashes_at(fetch, 2, SIZE) == [root_of(hashes[:65_536])]
    # C2SP's rule: partial tiles exist for the last tile of each level.
    for level, index, width in ((0, 258, 188), (1, 1, 2), (2, 0, 1)):
        assert len(fetch(path_of(level, index, width))) == 32 * width
    assert leaves_of(bundle("entries/257")) == [b"%d" % n for n in range(65_792, 66_048)]
