"""The second reader finds whatever was changed behind the log's back."""

from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain.fsck import Fault, Found, inspect
from app.infra.db import reading, writing
from tests.sealed import append, seal

GUARDS = (
    "log_leaves_no_update",
    "log_leaves_no_delete",
    "log_nodes_no_update",
    "log_nodes_no_delete",
    "log_checkpoints_no_update",
    "audit_entries_no_update",
)


def inspected() -> tuple[Found, list[str]]:
    faults: list[Fault] = []
    with reading() as tx:
        found = inspect(tx, faults)
    return found, sorted({fault.name for fault in faults})


def change(statement: str) -> None:
    """Change the database as somebody with all rights to it would."""
    with writing() as tx:
        for name in GUARDS:
            tx.execute(text(f"DROP TRIGGER {name}"))
        tx.execute(text("PRAGMA foreign_keys=OFF"))
        tx.execute(text(statement))


def test_an_untouched_log_is_whole(home: Path) -> None:
    append(6)
    seal()
    append(5)
    seal()
    append(2)
    assert inspected() == (Found(leaves=11, nodes=8, checkpoints=2, waiting=2), [])


def test_an_empty_log_is_whole(home: Path) -> None:
    assert inspected() == (Found(0, 0, 0, 0), [])


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("UPDATE audit_entries SET actor = 'key:nobody'", ["other-entry"]),
        (
            "UPDATE log_leaves SET leaf = CAST(replace(leaf, 'g_1', 'g_2') AS BLOB)",
            ["not-continued", "other-entry", "other-hash", "other-node", "other-root"],
        ),
        ('UPDATE log_leaves SET leaf_hash = zeroblob(32) WHERE "index" = 2', ["other-hash"]),
        ("UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 1", ["other-node"]),
        ("DELETE FROM log_nodes WHERE level = 1", ["other-node", "stray-node"]),
        ("INSERT INTO log_nodes VALUES (9, 9, zeroblob(32))", ["stray-node"]),
        ("UPDATE log_checkpoints SET note = X'78'", ["bad-checkpoint"]),
        ("UPDATE log_checkpoints SET root = zeroblob(32)", ["other-root"]),
        ("UPDATE log_checkpoints SET size = 99", ["other-root"]),
        ("DELETE FROM log_unsealed", ["forgotten"]),
    ],
)
def test_what_was_changed_is_named(sqlite_home: Path, statement: str, names: list[str]) -> None:
    append(7)
    seal()
    append(1)
    change(statement)
    assert inspected()[1] == names


def test_a_leaf_that_is_gone_leaves_a_gap(sqlite_home: Path) -> None:
    append(4)
    seal()
    change('DELETE FROM log_leaves WHERE "index" = 1')
    assert {"gap", "forgotten", "not-continued"} <= set(inspected()[1])
