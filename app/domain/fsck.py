"""A second reader: the whole log derived again from the audit entries.

Every leaf is written anew from its entry, every hash computed anew, and every signed size
compared with the root that results. Memory is bounded: leaves come in chunks, and of the tree
only the frontier is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.leaves import leaf_of
from app.domain.log import Leaf, SignedCheckpoint, TreeNode, Unsealed
from app.infra.signing import SigningError, keeper, keyring
from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import LedgerError
from app.ledger.merkle import Frontier, Node
from app.ledger.notes import Note, verify_note
from app.ledger.tree_hash import hash_leaf

CHUNK = 2000


@dataclass(frozen=True)
class Fault:
    """Something that is not as it has to be.

    Attributes:
        name: Stable name of the kind.
        detail: Where; without personal data.
    """

    name: str
    detail: str


@dataclass(frozen=True)
class Found:
    """How much was read."""

    leaves: int
    nodes: int
    checkpoints: int
    waiting: int


def inspect(tx: Session, faults: list[Fault]) -> Found:
    """Read the whole log.

    Args:
        tx: A transaction that sees one state of the database from its beginning to its end.
        faults: Gets what is wrong.

    Returns:
        How much was read.
    """
    signed = {item.size: item for item in tx.scalars(select(SignedCheckpoint))}
    kept = keeper().kept()
    wanted = {*signed, *([] if kept is None else [kept.size])}
    roots = {0: Frontier().root()}
    frontier = Frontier()
    nodes = 0
    for leaf, entry in _leaves(tx):
        faults += _of_leaf(leaf, entry, frontier.size)
        frontier, complete = frontier.extended([hash_leaf(leaf.leaf)])
        for node, reached in complete.items():
            nodes += node.level > 0
            faults += _of_node(tx, node, reached)
        if frontier.size in wanted:
            roots[frontier.size] = frontier.root()
        if frontier.size % CHUNK == 0:
            tx.expunge_all()
    if tx.scalar(select(func.count()).select_from(TreeNode)) != nodes:
        faults.append(Fault("stray-node", "the tree has nodes that belong to no leaf"))
    for size, item in signed.items():
        faults += _of_checkpoint(item, size, roots.get(size))
    if kept is not None and roots.get(kept.size) != kept.root:
        faults.append(Fault("not-continued", f"the checkpoint kept outside, of {kept.size}"))
    return Found(frontier.size, nodes, len(signed), _waiting(tx, faults))


def _leaves(tx: Session) -> Iterator[tuple[Leaf, AuditEntry | None]]:
    after = -1
    while True:
        query = (
            select(Leaf, AuditEntry)
            .join(AuditEntry, AuditEntry.id == Leaf.entry_id, isouter=True)
            .where(Leaf.index > after)
            .order_by(Leaf.index)
            .limit(CHUNK)
        )
        rows = tx.execute(query).all()
        if not rows:
            return
        for leaf, entry in rows:
            after = leaf.index
            yield leaf, entry


def _of_leaf(leaf: Leaf, entry: AuditEntry | None, place: int) -> Iterator[Fault]:
    if leaf.index != place:
        yield Fault("gap", f"leaf {leaf.index} stands where {place} belongs")
    if entry is None or leaf_of(entry) != leaf.leaf:
        yield Fault("other-entry", f"leaf {leaf.index} is not its entry")
    if hash_leaf(leaf.leaf) != leaf.leaf_hash:
        yield Fault("other-hash", f"the hash of leaf {leaf.index}")


def _of_node(tx: Session, node: Node, reached: bytes) -> Iterator[Fault]:
    if node.level == 0:
        return
    stored = tx.get(TreeNode, (node.level, node.position))
    if stored is None or stored.hash != reached:
        yield Fault("other-node", f"node {node.position} of level {node.level}")


def _of_checkpoint(item: SignedCheckpoint, size: int, root: bytes | None) -> Iterator[Fault]:
    try:
        note = Note.parse(item.note)
        verify_note(note, [key.trusted.key for key in keyring().keys])
        stated = Checkpoint.parse(note.text)
    except (LedgerError, SigningError) as error:
        yield Fault("bad-checkpoint", f"of {size}: {type(error).__name__}")
        return
    if (stated.size, stated.root) != (size, item.root) or item.root != root:
        yield Fault("other-root", f"the checkpoint of {size}")


def _waiting(tx: Session, faults: list[Fault]) -> int:
    """Count what is not sealed, and find what is neither sealed nor waits for it."""
    query = (
        select(func.count())
        .select_from(AuditEntry)
        .join(Leaf, Leaf.entry_id == AuditEntry.id, isouter=True)
        .join(Unsealed, Unsealed.entry_id == AuditEntry.id, isouter=True)
        .where(Leaf.entry_id.is_(None), Unsealed.entry_id.is_(None))
    )
    forgotten = tx.scalar(query) or 0
    if forgotten:
        faults.append(Fault("forgotten", f"{forgotten} entries will never be sealed"))
    return tx.scalar(select(func.count()).select_from(Unsealed)) or 0
