"""Audit entries get their places in the log, and the log is signed.

Entries are plain inserts in the transaction of the change. One sequencer at a time, behind an
advisory lock on PostgreSQL and as the single writer on SQLite, gives places to those it can
see: an entry becomes visible with its commit, so no entry can slip in before one that has a
place, however late it commits. Neither its time nor its position decides that; the position
only keeps causes before effects among what is visible.

Leaves are committed before they are signed, and a checkpoint is kept outside the database
before anyone sees it: after a crash at any point the next call goes on.
"""

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.leaves import leaf_of
from app.domain.log import CertificateDue, Leaf, SignedCheckpoint, TreeNode, Unsealed
from app.domain.tree import reader, root_at, size_of
from app.infra import clock
from app.infra.signing import keeper, keyring
from app.ledger.checkpoints import Checkpoint
from app.ledger.merkle import Frontier
from app.ledger.tree_hash import hash_leaf

LOCK = 7_205_759_403_793
"""Any number: the advisory lock that lets one sequencer work at a time on PostgreSQL."""
MOST_ENTRIES = 500
"""Of a batch; on SQLite every writer waits while one is sealed."""
ENDINGS = ("request.fulfilled", "request.partially_fulfilled", "request.nothing_found")
"""Types of the last entry of a request that is certified."""


def is_behind(tx: Session) -> bool:
    """Tell whether entries wait for a place, or leaves for a signature; locks nothing."""
    if tx.scalar(select(Unsealed.position).limit(1)) is not None:
        return True
    return tx.get(SignedCheckpoint, size_of(tx)) is None


def seal(tx: Session, most: int = MOST_ENTRIES) -> int:
    """Give the next places in the log to entries that have none.

    Args:
        tx: A transaction of its own.
        most: How many entries at once.

    Returns:
        How many entries were sealed; fewer than ``most`` when none is left.

    Raises:
        SigningError: The tree does not continue what was signed; nothing is sealed.
    """
    _enter(tx)
    size = size_of(tx)
    _require_continued(tx, size)
    waiting = tx.execute(
        select(Unsealed.position, AuditEntry)
        .join(AuditEntry, AuditEntry.id == Unsealed.entry_id)
        .order_by(Unsealed.position)
        .limit(most)
    ).all()
    if not waiting:
        return 0
    hashes: list[bytes] = []
    leaves: list[dict[str, object]] = []
    for index, (_, entry) in enumerate(waiting, size):
        leaf = leaf_of(entry)
        hashes.append(hash_leaf(leaf))
        leaves.append({
            "index": index,
            "entry_id": entry.id,
            "tenant_id": entry.tenant_id,
            "leaf": leaf,
            "leaf_hash": hashes[-1],
        })
    frontier = Frontier.stored(size, reader(tx))
    _, complete = frontier.extended(hashes)
    tx.execute(insert(Leaf), leaves)
    nodes = [
        {"level": node.level, "position": node.position, "hash": reached}
        for node, reached in complete.items()
        if node.level
    ]
    if nodes:
        tx.execute(insert(TreeNode), nodes)
    tx.execute(delete(Unsealed).where(Unsealed.position.in_([place for place, _ in waiting])))
    _note_endings(tx, [entry for _, entry in waiting])
    return len(waiting)


def sign(tx: Session) -> Checkpoint | None:
    """Sign the tree as it is committed.

    Args:
        tx: A transaction of its own, after that of ``seal``.

    Returns:
        The checkpoint; None when the tree has not grown since the last one.

    Raises:
        SigningError: No key may sign, or the tree does not continue what was signed.
    """
    _enter(tx)
    size = size_of(tx)
    if tx.get(SignedCheckpoint, size) is not None:
        return None
    _require_continued(tx, size)
    ring = keyring()
    checkpoint = Checkpoint(ring.origin, size, root_at(tx, size))
    note = ring.signer(clock.now()).sign_checkpoint(checkpoint)
    keeper().keep(note)
    tx.add(SignedCheckpoint(size=size, root=checkpoint.root, note=bytes(note)))
    tx.flush()
    return checkpoint


def _enter(tx: Session) -> None:
    if tx.get_bind().dialect.name == "postgresql":
        tx.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


def _require_continued(tx: Session, size: int) -> None:
    keeper().require_continued(keyring().origin, size, lambda earlier: root_at(tx, earlier))


def _note_endings(tx: Session, entries: list[AuditEntry]) -> None:
    """Remember the requests that can be certified, now that all they cite has its place."""
    due = {entry.request_id: entry.tenant_id for entry in entries if entry.type in ENDINGS}
    known = set(
        tx.scalars(select(CertificateDue.request_id).where(CertificateDue.request_id.in_(due)))
    )
    rows = [
        {"request_id": request_id, "tenant_id": tenant_id}
        for request_id, tenant_id in due.items()
        if request_id not in known
    ]
    if rows:
        tx.execute(insert(CertificateDue), rows)
