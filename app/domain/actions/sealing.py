"""Audit entries get their places in the log, and the log is signed.

Entries are plain inserts in the transaction of the change. One sequencer at a time, behind an
advisory lock on PostgreSQL and as the single writer on SQLite, appends those it could see: an
entry becomes visible with its commit, so no entry can slip in before one that has a place,
however late it commits. Neither its time nor its position decides that; the position only
keeps causes before effects among what is visible.

Leaves are committed before they are signed, and a checkpoint is kept outside the database
before anyone sees it: after a crash at any point the next call goes on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.leaves import leaf_of
from app.domain.log import CertificateDue, Leaf, SignedCheckpoint, TreeNode, Unsealed
from app.domain.tree import reader, root_at, size_of
from app.infra import clock
from app.infra.signing import KeptLost, keeper, keyring
from app.ledger.checkpoints import Checkpoint
from app.ledger.merkle import Frontier
from app.ledger.notes import Note
from app.ledger.tree_hash import hash_leaf

LOCK = 7_205_759_403_793
"""Any number: the advisory lock that lets one sequencer work at a time on PostgreSQL."""
MOST_ENTRIES = 500
"""Of a batch; on SQLite every writer waits while one is sealed."""
CERTIFIED = {
    "request.fulfilled": "completed",
    "request.partially_fulfilled": "completed",
    "request.nothing_found": "completed",
    "withdrawal.completed": "withdrawal_completed",
    "certificate.revoked": "revoked",
}
"""Entries that make a certificate due, once they and all before them are sealed; its kind."""


def is_behind(tx: Session) -> bool:
    """Tell whether entries wait for a place, or leaves for a signature; locks nothing."""
    if tx.scalar(select(Unsealed.position).limit(1)) is not None:
        return True
    return tx.get(SignedCheckpoint, size_of(tx)) is None


@dataclass(frozen=True)
class Batch:
    """Leaves that are ready to be appended to a tree of ``size`` leaves.

    Attributes:
        size: Of the tree.
        leaves: Rows of the leaves.
        nodes: Rows of the nodes that become complete.
        positions: Of what is no longer unsealed then.
        due: Tenants of the requests that can be certified then, by request and kind.
    """

    size: int
    leaves: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    positions: list[int]
    due: dict[tuple[str, str], str]


def seal(tx: Session, most: int = MOST_ENTRIES) -> int:
    """Prepare a batch and append it in one transaction; see ``prepare`` and ``place``.

    Returns:
        How many entries were sealed; fewer than ``most`` when none is left.
    """
    _enter(tx)
    batch = prepare(tx, most)
    return 0 if batch is None or not place(tx, batch) else len(batch.leaves)


def prepare(tx: Session, most: int = MOST_ENTRIES) -> Batch | None:
    """Write and hash the next leaves; this locks nothing, and on SQLite needs no writer.

    Args:
        tx: A fresh transaction, so that it does not see less than was kept before it.
        most: How many entries at once.

    Returns:
        What to append; None when nothing waits.

    Raises:
        SigningError: The tree does not continue what was signed.
    """
    size = _continued_size(tx)
    waiting = tx.execute(
        select(Unsealed.position, AuditEntry)
        .join(AuditEntry, AuditEntry.id == Unsealed.entry_id)
        .order_by(Unsealed.position)
        .limit(most)
    ).all()
    if not waiting:
        return None
    hashes: list[bytes] = []
    leaves: list[dict[str, Any]] = []
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
    _, complete = Frontier.stored(size, reader(tx)).extended(hashes)
    nodes = [
        {"level": node.level, "position": node.position, "hash": reached}
        for node, reached in complete.items()
        if node.level
    ]
    entries = [entry for _, entry in waiting]
    return Batch(size, leaves, nodes, [position for position, _ in waiting], _due(entries))


def place(tx: Session, batch: Batch) -> bool:
    """Append a batch, unless another sequencer was quicker.

    Args:
        tx: A transaction of its own.
        batch: From ``prepare``.

    Returns:
        Whether it was appended; if not, prepare another one.
    """
    _enter(tx)
    # Only a sequencer takes entries off the queue, and it always adds leaves.
    if size_of(tx) != batch.size:
        return False
    tx.execute(insert(Leaf), batch.leaves)
    if batch.nodes:
        tx.execute(insert(TreeNode), batch.nodes)
    tx.execute(delete(Unsealed).where(Unsealed.position.in_(batch.positions)))
    _note_due(tx, batch.due)
    return True


def sign(tx: Session) -> Checkpoint | None:
    """Sign and publish in one transaction; see ``prepare_checkpoint``.

    Returns:
        The checkpoint; None when the tree has not grown since the last one.
    """
    note = prepare_checkpoint(tx)
    if note is None or not publish_checkpoint(tx, note):
        return None
    return Checkpoint.parse(note.text)


def prepare_checkpoint(tx: Session) -> Note | None:
    """Sign the tree as it is committed, and keep the checkpoint outside the database.

    Args:
        tx: A fresh transaction after that of ``place``; nothing is written in it.

    Returns:
        What to publish; None when it is published, or another process has signed more.

    Raises:
        SigningError: No key may sign, or the tree does not continue what was signed.
    """
    size = _continued_size(tx)
    if tx.get(SignedCheckpoint, size) is not None:
        return None
    ring = keyring()
    checkpoint = Checkpoint(ring.origin, size, root_at(tx, size))
    note = ring.signer(clock.now()).sign_checkpoint(checkpoint)
    return note if keeper().keep(note) else None


def publish_checkpoint(tx: Session, note: Note) -> bool:
    """Show a checkpoint that was kept to everybody; False if it is shown already."""
    _enter(tx)
    checkpoint = Checkpoint.parse(note.text)
    if tx.get(SignedCheckpoint, checkpoint.size) is not None:
        return False
    tx.add(SignedCheckpoint(size=checkpoint.size, root=checkpoint.root, note=bytes(note)))
    tx.flush()
    return True


def _enter(tx: Session) -> None:
    if tx.get_bind().dialect.name == "postgresql":
        tx.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


def _continued_size(tx: Session) -> int:
    """Return the size of the tree, having made sure that it continues what was signed.

    Raises:
        KeptLost: It is not known what was signed.
    """
    keep = keeper()
    # Before the database is looked at: what is kept was committed there, so it has to show it.
    kept = keep.kept()
    size = size_of(tx)
    # Looked at twice: another process may have signed the first one between the two lines above.
    if kept is None and _has_signed(tx) and keep.kept() is None:
        raise KeptLost("the log has signed checkpoints, and none is kept outside the database")
    keep.require_continued(kept, keyring().origin, size, lambda earlier: root_at(tx, earlier))
    return size


def _has_signed(tx: Session) -> bool:
    return tx.scalar(select(SignedCheckpoint.size).limit(1)) is not None


def _due(entries: Iterable[AuditEntry]) -> dict[tuple[str, str], str]:
    due = {
        (entry.request_id, CERTIFIED[entry.type]): entry.tenant_id
        for entry in entries
        if entry.request_id is not None and entry.type in CERTIFIED
    }
    # A first certificate that nobody has begun yet will tell of the withdrawal itself.
    told = {(request_id, "withdrawal_completed") for request_id, kind in due if kind == "completed"}
    return {place: tenant_id for place, tenant_id in due.items() if place not in told}


def _note_due(tx: Session, due: Mapping[tuple[str, str], str]) -> None:
    """Remember what can be certified, now that all that is cited has its place."""
    query = select(CertificateDue.request_id, CertificateDue.kind).where(
        CertificateDue.request_id.in_({request_id for request_id, _ in due})
    )
    known = {(request_id, kind) for request_id, kind in tx.execute(query)}
    rows = [
        {"request_id": request_id, "kind": kind, "tenant_id": tenant_id}
        for (request_id, kind), tenant_id in due.items()
        if (request_id, kind) not in known
    ]
    if rows:
        tx.execute(insert(CertificateDue), rows)
