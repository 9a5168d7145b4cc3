"""Several processes act at once on PostgreSQL; one of them wins, none of them is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import func, select

from app.domain.actions import importing, running, upkeep
from app.domain.catalog import Revision, Version
from app.domain.jobs import Bell, Job
from app.domain.requests import DONE_STATES, Request, Target
from app.infra.db import writing
from app.infra.rows import Roles
from app.infra.settings import settings
from tests import builders as make
from tests.domain.conftest import forget_settings

ROUNDS = 3


@pytest.fixture
def home(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("LETHE_DATABASE_URL", postgres_url)
    forget_settings()
    yield tmp_path
    forget_settings()


Result = TypeVar("Result")


def together(*acts: Callable[[], Result]) -> list[Result]:
    """Let all acts begin at the same moment, each in a thread; return what they return."""
    gate = threading.Barrier(len(acts))

    def begin(act: Callable[[], Result]) -> Result:
        gate.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(begin, acts))


def test_one_of_several_claims_wins(tenant: str, dataset: str, version: str) -> None:
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))

    def claim() -> int | None:
        with suppress(LookupError):
            return make.claim(job)
        return None

    won = [fence for fence in together(*[claim] * 6) if fence is not None]
    assert won == [1]
    assert make.read(Job, job).attempts == 1


def test_requests_that_arrive_during_a_publication_are_not_lost(
    tenant: str, dataset: str, version: str
) -> None:
    for number in range(ROUNDS):
        make.delete(tenant, dataset, f"s{3 * number}")
        with writing() as tx:
            job = tx.scalars(
                select(Job.id).where(Job.kind == "unlearn", Job.state == "queued")
            ).one()
        together(
            partial(make.publish, job),
            partial(make.delete, tenant, dataset, f"s{3 * number + 1}"),
            partial(make.delete, tenant, dataset, f"s{3 * number + 2}"),
        )
        with writing() as tx:
            stranded = tx.scalar(
                select(func.count())
                .select_from(Target)
                .join(Version, Version.id == Target.version_id)
                .where(Target.state == "waiting", Version.state != "tainted")
            )
        assert stranded == 0
        make.work_off()
        with writing() as tx:
            left = tx.scalars(select(Request.state).where(Request.state.not_in(DONE_STATES)))
            assert left.all() == []
    with make.rows_of(dataset) as store:
        assert store.erased_rows == 3 * ROUNDS
    with writing() as tx:
        assert len(tx.scalars(select(Version).where(Version.state == "live")).all()) == 1


def test_several_requests_join_one_job(tenant: str, dataset: str, version: str) -> None:
    names = [f"s{number}" for number in range(6)]
    together(*[partial(make.delete, tenant, dataset, name) for name in names])
    with writing() as tx:
        jobs = tx.scalars(select(Job).where(Job.kind == "unlearn")).all()
        assert [(job.samples, job.state) for job in jobs] == [(6, "queued")]


def test_a_heartbeat_does_not_wait_for_the_tenant(tenant: str, dataset: str, version: str) -> None:
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    fence = make.claim(job)
    from app.domain import gate

    with writing() as tx:
        gate.enter(tx, tenant)

        def beat() -> running.Pulse:
            with writing() as other:
                return running.heartbeat(other, job, fence)

        assert together(beat) == [running.Pulse.ALIVE]


def test_bells_are_taken_once(tenant: str, dataset: str, version: str) -> None:
    make.work_off()
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    with writing() as tx:
        tx.query(Bell).delete()
        tx.add_all([Bell(tenant_id=tenant, job_id=job) for _ in range(200)])

    def take() -> int:
        with writing() as tx:
            upkeep.take_bells(tx, 50)
            return 50

    together(*[take] * 4)
    with writing() as tx:
        assert tx.scalar(select(func.count()).select_from(Bell)) == 0


def test_two_sweepers_take_a_lapsed_job_back_once(tenant: str, dataset: str, version: str) -> None:
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    make.claim(job)
    make.lapse(job)

    def sweep() -> int:
        with writing() as tx:
            return upkeep.requeue_lapsed(tx)

    assert sorted(together(sweep, sweep, sweep)) == [0, 0, 1]


def test_an_import_notices_a_request_that_came_meanwhile(
    tenant: str, dataset: str, version: str
) -> None:
    job = make.begin_import(tenant, dataset)
    fence = make.claim(job)
    with writing() as tx:
        plan = importing.plan_import(tx, job, fence)
    assert plan.guard is None
    make.delete(tenant, dataset, "s0")
    content = make.table()
    make.write_rows(plan.folder, plan.roles, content, content.cells, range(20))
    assert plan.roles == Roles("id", "person", "part", "label")
    assert (settings().rows_folder / plan.folder).exists()
    with writing() as tx:
        assert not importing.complete_import(
            tx, job, fence, rows=20, splits={}, columns=[], watermark=plan.watermark
        )
    make.lapse(job)
    revision = make.run_import(job, content)
    assert make.read(Revision, revision).error["code"] == "suppressed-samples"
