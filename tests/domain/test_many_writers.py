"""Processes that write and seal at once: no gap, no fork, one leaf for each change of state."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import text

from app.domain import audit
from app.infra.db import writing
from benchmarks.sealing.writers import measure, things, wrong
from tests.sealed import append, seal


def require_whole(found: Mapping[str, float], entries: int) -> None:
    assert (found["entries"], found["leaves"]) == (entries, entries)
    assert found["checkpoints"] > 2
    assert (found["gaps"], found["forks"], found["lost"]) == (0, 0, 0)


@pytest.mark.slow
def test_eight_writers_and_two_sealers_on_postgresql(postgres_home: Path) -> None:
    require_whole(measure(writers=8, sealers=2, entries=800), 800)


@pytest.mark.slow
def test_writers_and_sealers_on_sqlite(sqlite_home: Path) -> None:
    require_whole(measure(writers=4, sealers=2, entries=400), 400)


def change(before: int, after: int) -> None:
    """Log a change of a thing, true or not."""
    with writing() as tx:
        audit.append(
            tx,
            tenant_id="ten_a",
            type="thing.changed",
            actor=audit.SYSTEM,
            entity_kind="thing",
            entity_id="thing_0",
            from_state=str(before),
            to_state=str(after),
        )


@pytest.mark.parametrize(
    ("changes", "state", "lost"),
    [
        ([(0, 1), (1, 2)], 2, 0),
        ([(0, 1)], 2, 1),
        ([(0, 1), (1, 2)], 1, 1),
        ([(0, 1), (1, 2), (1, 2)], 2, 1),
        ([(1, 2), (0, 1)], 2, 3),
    ],
    ids=["whole", "not logged", "not done", "logged twice", "out of order"],
)
def test_what_is_lost_is_counted(
    sqlite_home: Path, changes: list[tuple[int, int]], state: int, lost: int
) -> None:
    with things():
        for before, after in changes:
            change(before, after)
        with writing() as tx:
            tx.execute(
                text("UPDATE things SET state = :state WHERE id = 'thing_0'"), {"state": state}
            )
        seal()
        assert wrong(len(changes)) == {"gaps": 0, "forks": 0, "lost": lost}


def test_entries_that_are_not_sealed_are_gaps(sqlite_home: Path) -> None:
    with things():
        change(0, 1)
        seal()
        append(1)
        assert wrong(2)["gaps"] == 2
        assert wrong(3)["gaps"] == 3
