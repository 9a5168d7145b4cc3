"""A worker that slept through its lease wakes up in the middle of writing row files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy.orm import Session

from app.domain.actions import importing as import_actions
from app.domain.actions import withdrawal
from app.domain.catalog import Revision
from app.domain.errors import FenceLost
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.domain.requests import Request
from app.infra.settings import settings
from app.infra.storage import ObjectMissing, open_store
from tests import builders as make
from tests.domain.conftest import sqlite_home, sqlite_template
from workers import importing, withdrawing
from workers.lease import Lease

__all__ = ["sqlite_home", "sqlite_template"]  # fixtures, found by their names


def claimed(job_id: str) -> Lease:
    """A lease without the heartbeat that would tell the sleeper."""
    kind = make.read(Job, job_id).kind
    return Lease(job_id, kind, make.claim(job_id), settings().lease_seconds)


def asleep_after(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, meanwhile: Callable[[], None]
) -> None:
    """Let something happen once, just after the first call of a verb was committed."""
    verb = getattr(module, name)
    happened: list[str] = []

    def call(tx: Session, *arguments: Any, **named: Any) -> Any:
        answer = verb(tx, *arguments, **named)
        if not happened:
            happened.append(name)
            tx.commit()
            meanwhile()
        return answer

    monkeypatch.setattr(module, name, call)


def stored(job_id: str, content: make.Table, folder: Path) -> None:
    """Put the Parquet file of a queued import into the object store."""
    file = folder / "content.parquet"
    columns = {"id": content.ids, "person": content.persons, "part": content.parts}
    pq.write_table(pa.table(columns | content.cells), file)
    revision = make.read(Revision, str(make.read(Job, job_id).revision_id))
    open_store(settings().store_url).put_file(str(revision.upload_key), file)


@pytest.mark.parametrize("verb", ["plan_import", "complete_import"])
def test_an_importer_that_slept_does_not_touch_the_ready_revision(
    sqlite_home: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    job = make.begin_import(tenant, dataset)
    stored(job, make.table(30), sqlite_home)
    sleeper = claimed(job)

    if verb == "complete_import":
        # Suppressed while the sleeper imports: its result is not to be kept.
        def refuse(*_: Any, **__: Any) -> bool:
            return False

        monkeypatch.setattr(import_actions, "complete_import", refuse)

    def meanwhile() -> None:
        monkeypatch.undo()
        monkeypatch.setenv("LETHE_HOME", str(sqlite_home))
        make.lapse(job)
        importing.run(claimed(job))

    asleep_after(monkeypatch, import_actions, verb, meanwhile)
    with pytest.raises((FenceLost, ObjectMissing)):
        importing.run(sleeper)
    with make.rows_of(dataset, 2) as store:
        assert store.rows == 30
    folder = settings().rows_folder / tenant / dataset
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2"]
    assert list(open_store(settings().store_url).list("uploads/")) == []


def test_a_withdrawal_that_slept_does_not_bring_old_corrections_back(
    sqlite_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = make.make_tenant()
    dataset = make.make_dataset(tenant)
    first = make.correct(tenant, dataset, Correction("s0", features={"age": 41}))
    job = make.withdraw_job(first)
    sleeper = claimed(job)

    def meanwhile() -> None:
        make.lapse(job)
        withdrawing.run(claimed(job))
        second = make.correct(tenant, dataset, Correction("s0", features={"age": 42}))
        withdrawing.run(claimed(make.withdraw_job(second)))
        assert make.state(Request, second) == "fulfilled"

    asleep_after(monkeypatch, withdrawal, "plan", meanwhile)
    with pytest.raises(FenceLost):
        withdrawing.run(sleeper)
    with make.rows_of(dataset) as store:
        assert store.cells("age", store.find(["s0"])) == [42]
