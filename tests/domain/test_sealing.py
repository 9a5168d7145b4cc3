"""Entries get places in the log: contiguous, once, whatever commits late or crashes."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.domain import audit, tree
from app.domain.actions import sealing
from app.domain.audit import AuditEntry
from app.domain.leaves import leaf_of
from app.domain.log import Leaf, SignedCheckpoint, TreeNode, Unsealed
from app.infra import clock, db, signing
from app.infra.db import reading, writing
from app.infra.ids import new_id
from app.infra.signing import OtherRoot, SmallerTree
from app.ledger.checkpoints import Checkpoint
from app.ledger.consistency import verify_consistency
from app.ledger.entries import Entry
from app.ledger.inclusion import verify_inclusion
from app.ledger.merkle import MemoryTree, prove_consistency, prove_inclusion
from app.ledger.notes import Note, verify_note
from tests import builders as make
from tests.sealed import append, seal


def test_every_entry_gets_one_place_without_a_gap(tenant: str, dataset: str, version: str) -> None:
    size = seal(most=7)
    with reading() as tx:
        entries = {entry.id: entry for entry in tx.scalars(select(AuditEntry))}
        leaves = tx.scalars(select(Leaf).order_by(Leaf.index)).all()
        assert tx.scalar(select(func.count()).select_from(Unsealed)) == 0
    assert [leaf.index for leaf in leaves] == list(range(size))
    assert sorted(leaf.entry_id for leaf in leaves) == sorted(entries)
    for leaf in leaves:
        record, entry = Entry.parse(leaf.leaf), entries[leaf.entry_id]
        assert (record.id, record.type, record.tenant) == (entry.id, entry.type, entry.tenant_id)
        assert leaf.leaf == leaf_of(entry)
        assert leaf.leaf_hash == record.leaf_hash()


def test_the_checkpoint_is_signed_over_the_tree_of_the_leaves(tenant: str, model: str) -> None:
    size = seal()
    with reading() as tx:
        leaves = tx.scalars(select(Leaf.leaf_hash).order_by(Leaf.index)).all()
        signed = tx.get_one(SignedCheckpoint, size)
    note = Note.parse(signed.note)
    verify_note(note, [key.trusted.key for key in signing.keyring().keys])
    origin = signing.keyring().origin
    assert Checkpoint.parse(note.text) == Checkpoint(origin, size, MemoryTree(leaves).root())
    assert signing.keeper().kept() == Checkpoint.parse(note.text)


def test_stored_nodes_prove_every_leaf_and_every_pair_of_sizes(home: Path) -> None:
    for count in (1, 2, 5, 9):
        append(count)
        seal()
    with reading() as tx:
        leaves = tx.scalars(select(Leaf.leaf_hash).order_by(Leaf.index)).all()
        read, roots = tree.reader(tx), {n: tree.root_at(tx, n) for n in range(1, 18)}
        for size in range(1, 18):
            assert roots[size] == MemoryTree(leaves[:size]).root()
            for index in range(size):
                verify_inclusion(
                    index=index,
                    size=size,
                    leaf_hash=leaves[index],
                    proof=prove_inclusion(index, size, read),
                    root=roots[size],
                )
            for earlier in range(1, size + 1):
                verify_consistency(
                    size=earlier,
                    root=roots[earlier],
                    later_size=size,
                    later_root=roots[size],
                    proof=prove_consistency(earlier, size, read),
                )


def test_an_entry_that_commits_late_comes_later(
    postgres_home: Path,
) -> None:
    late = db.writing()
    tx = late.__enter__()
    first = audit.append(
        tx, tenant_id="ten_a", type="x.late", actor=audit.SYSTEM, entity_kind="x", entity_id="x_1"
    )
    tx.flush()
    append(3)
    assert seal() == 3
    late.__exit__(None, None, None)
    assert seal() == 4
    with reading() as tx:
        assert tx.scalar(select(Leaf.index).where(Leaf.entry_id == first.id)) == 3


def test_causes_come_before_effects_in_a_batch(home: Path) -> None:
    made = append(1) + append(1) + append(1)
    seal()
    with reading() as tx:
        assert list(tx.scalars(select(Leaf.entry_id).order_by(Leaf.index))) == made


def test_causes_come_before_effects_though_clocks_differ(home: Path) -> None:
    """Each entry is written by a machine whose clock is behind that of the one before."""
    ids = sorted((new_id("evt") for _ in range(4)), reverse=True)
    start, left = clock.now(), list(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "new_id", lambda _prefix: left.pop(0))
        patch.setattr(clock, "now", lambda: start - timedelta(hours=len(ids) - len(left)))
        assert append(1) + append(1) + append(1) + append(1) == ids
    seal()
    with reading() as tx:
        assert list(tx.scalars(select(Leaf.entry_id).order_by(Leaf.index))) == ids


def test_what_is_signed_meanwhile_is_no_rollback(
    sqlite_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process signs a larger tree just after this one has looked at the tree's size."""
    append(2)
    seal()
    append(1)
    look, others = tree.size_of, [seal]

    def looked(tx: Session) -> int:
        size = look(tx)
        while others:
            others.pop()()
        return size

    monkeypatch.setattr(sealing, "size_of", looked)
    with reading() as tx:
        assert sealing.prepare_checkpoint(tx) is None
    assert seal() == 3
    assert not others


def test_nothing_is_signed_twice(home: Path) -> None:
    append(2)
    seal()
    with reading() as tx:
        assert not sealing.is_behind(tx)
    with writing() as tx:
        assert sealing.sign(tx) is None
    append(1)
    with reading() as tx:
        assert sealing.is_behind(tx)


def test_a_crash_after_the_checkpoint_was_kept_is_made_good(home: Path) -> None:
    append(3)
    with writing() as tx:
        sealing.seal(tx)
    writer = writing()
    sealing.sign(writer.__enter__())
    assert not writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    kept = signing.keeper().kept()
    assert kept is not None
    assert kept.size == 3
    append(2)
    assert seal() == 5
    with reading() as tx:
        assert list(tx.scalars(select(SignedCheckpoint.size))) == [5]


def test_a_database_rolled_back_to_yesterday_is_refused(sqlite_home: Path) -> None:
    append(3)
    seal()
    db.truncate_log()
    db.engine().dispose()
    shutil.copy(sqlite_home / "lethe.db", sqlite_home / "backup")
    append(2)
    seal()
    db.truncate_log()
    db.engine().dispose()
    shutil.copy(sqlite_home / "backup", sqlite_home / "lethe.db")
    with pytest.raises(SmallerTree):
        seal()
    append(4)
    with pytest.raises(SmallerTree):
        seal()
    with reading() as tx:
        assert tree.size_of(tx) == 3


def test_another_tree_of_the_same_size_is_refused(sqlite_home: Path) -> None:
    shutil.copy(sqlite_home / "lethe.db", sqlite_home / "backup")
    append(3)
    seal()
    db.truncate_log()
    db.engine().dispose()
    shutil.copy(sqlite_home / "backup", sqlite_home / "lethe.db")
    append(3)
    with writing() as tx, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "_continued_size", tree.size_of)
        sealing.seal(tx)
    with pytest.raises(OtherRoot):
        seal()


def test_an_entry_that_cannot_be_written_does_not_stop_the_others(home: Path) -> None:
    append(1, facts={"long": "x" * 70_000})
    append(1, facts={"large": 2**60, "share": 0.25, "none": None, "list": [1, 0.5]})
    assert seal() == 2
    with reading() as tx:
        first, second = (Entry.parse(leaf) for leaf in tx.scalars(select(Leaf.leaf)))
    assert first.facts == {"omitted": "too-large"}
    assert second.facts == {"large": str(2**60), "share": "0.25", "list": [1, "0.5"]}


@pytest.mark.parametrize("table", ["log_leaves", "log_nodes", "log_checkpoints"])
@pytest.mark.parametrize("act", ["update", "delete", "replace", "truncate"])
def test_the_database_refuses_to_change_the_log(home: Path, table: str, act: str) -> None:
    append(4)
    seal()
    column = {"log_leaves": "leaf", "log_nodes": "hash", "log_checkpoints": "note"}[table]
    statement = {
        "update": f"UPDATE {table} SET {column} = {column}",
        "delete": f"DELETE FROM {table}",
        "replace": f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        "truncate": f"TRUNCATE {table}",
    }[act]
    with reading() as tx:
        before = tx.scalar(select(func.count()).select_from(TreeNode))
    with pytest.raises(DBAPIError), writing() as tx:
        tx.execute(text(statement))
    with reading() as tx:
        assert tx.scalar(select(func.count()).select_from(TreeNode)) == before == 3


def test_leaves_name_no_sample(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s0", "secret-id", reference="case 7")
    make.publish(make.jobs_of(request)[0])
    make.withdraw(request)
    seal()
    with reading() as tx:
        for leaf in tx.scalars(select(Leaf.leaf)):
            assert b"secret-id" not in leaf
            assert b'"s0"' not in leaf
            assert b"case 7" not in leaf
