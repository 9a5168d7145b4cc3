"""A second reader: the whole log derived again from the audit entries.

Every leaf is written anew from its entry, every hash computed anew, and every signed size
compared with the root that results. Memory is bounded: leaves, nodes and checkpoints come in
chunks, and of the tree only the frontier is held.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.domain.audit import AuditEntry
from app.domain.leaves import leaf_of
from app.domain.log import Cosignature, Leaf, SignedCheckpoint, TreeNode, Unsealed
from app.domain.tree import reader
from app.infra.signing import KeptDamaged, SigningError, keeper, keyring
from app.ledger.checkpoints import Checkpoint, cosigned_at
from app.ledger.errors import LedgerError
from app.ledger.merkle import Frontier, Node
from app.ledger.notes import Note, VerifierKey, verify_note
from app.ledger.tree_hash import EMPTY_ROOT, hash_leaf

CHUNK = 2000
LARGEST_SIZE = 2**63 - 1
"""Of a tree, as the database counts."""


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
    kept = _kept(tx, faults)
    kept_root = EMPTY_ROOT
    frontier, nodes = Frontier(), 0
    checkpoints = _of_checkpoints(tx, range(1), {0: EMPTY_ROOT}, faults)
    for rows in _chunks(tx):
        sizes = range(frontier.size + 1, frontier.size + len(rows) + 1)
        wanted = {*_signed_sizes(tx, sizes), *([] if kept is None else [kept.size])}
        roots: dict[int, bytes] = {}
        complete: dict[Node, bytes] = {}
        for leaf, entry in rows:
            faults += _of_leaf(leaf, entry, frontier.size)
            frontier, reached = frontier.extended([hash_leaf(leaf.leaf)])
            complete |= reached
            if frontier.size in wanted:
                roots[frontier.size] = frontier.root()
        nodes += _of_nodes(tx, complete, faults)
        checkpoints += _of_checkpoints(tx, sizes, roots, faults)
        if kept is not None and kept.size in roots:
            kept_root = roots[kept.size]
        tx.expunge_all()
    if tx.scalar(select(func.count()).select_from(TreeNode)) != nodes:
        faults.append(Fault("stray-node", "the tree has nodes that belong to no leaf"))
    beyond = range(frontier.size + 1, LARGEST_SIZE)
    checkpoints += _of_checkpoints(tx, beyond, {}, faults)
    faults += _of_cosignatures(tx)
    if kept is not None and kept_root != kept.root:
        faults.append(Fault("not-continued", f"the checkpoint kept outside, of {kept.size}"))
    return Found(frontier.size, nodes, checkpoints, _waiting(tx, faults))


def _kept(tx: Session, faults: list[Fault]) -> Checkpoint | None:
    """Return the checkpoint kept outside: it has to be there once one was signed."""
    try:
        kept = keeper().kept()
    except KeptDamaged:
        faults.append(Fault("kept-damaged", "the file of the checkpoint kept outside"))
        return None
    if kept is None and tx.scalar(select(SignedCheckpoint.size).limit(1)) is not None:
        faults.append(Fault("kept-lost", "no checkpoint is kept outside, and some are signed"))
    return kept


def _chunks(tx: Session) -> Iterator[Sequence[Row[Leaf, AuditEntry]]]:
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
        after = rows[-1][0].index
        yield rows


def _of_leaf(leaf: Leaf, entry: AuditEntry | None, place: int) -> Iterator[Fault]:
    if leaf.index != place:
        yield Fault("gap", f"leaf {leaf.index} stands where {place} belongs")
    if entry is None or leaf_of(entry) != leaf.leaf:
        yield Fault("other-entry", f"leaf {leaf.index} is not its entry")
    if hash_leaf(leaf.leaf) != leaf.leaf_hash:
        yield Fault("other-hash", f"the hash of leaf {leaf.index}")


def _of_nodes(tx: Session, complete: Mapping[Node, bytes], faults: list[Fault]) -> int:
    """Compare stored nodes with what they have to be; return how many there have to be."""
    expected = {node: reached for node, reached in complete.items() if node.level}
    stored = reader(tx)(list(expected))
    for node, reached in expected.items():
        if stored.get(node) != reached:
            place = f"node {node.position} of level {node.level}"
            faults.append(Fault("other-node", place))
    return len(expected)


def _signed_sizes(tx: Session, sizes: range) -> set[int]:
    query = select(SignedCheckpoint.size)
    return set(tx.scalars(query.where(SignedCheckpoint.size.between(sizes[0], sizes[-1]))))


def _of_checkpoints(
    tx: Session, sizes: range, roots: Mapping[int, bytes], faults: list[Fault]
) -> int:
    """Check the checkpoints of trees of these sizes; return how many there are."""
    query = select(SignedCheckpoint)
    found = tx.scalars(query.where(SignedCheckpoint.size.between(sizes[0], sizes[-1]))).all()
    for item in found:
        faults += _of_checkpoint(item, roots.get(item.size))
    return len(found)


def _of_checkpoint(item: SignedCheckpoint, root: bytes | None) -> Iterator[Fault]:
    try:
        note = Note.parse(item.note)
        verify_note(note, [key.trusted.key for key in keyring().keys])
        stated = Checkpoint.parse(note.text)
    except (LedgerError, SigningError) as error:
        yield Fault("bad-checkpoint", f"of {item.size}: {type(error).__name__}")
        return
    if (stated.size, stated.root) != (item.size, item.root) or item.root != root:
        yield Fault("other-root", f"the checkpoint of {item.size}")


def _of_cosignatures(tx: Session) -> Iterator[Fault]:
    query = select(Cosignature, SignedCheckpoint.note).join(SignedCheckpoint)
    for item, note in tx.execute(query.execution_options(yield_per=CHUNK)):
        try:
            cosigned = Note.parse(note + item.line.encode())
            is_own = cosigned_at(cosigned, VerifierKey.parse(item.witness)) == item.cosigned_at
        except LedgerError:
            is_own = False
        if not is_own:
            yield Fault("bad-cosignature", f"of the checkpoint of {item.size}")


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
