"""A job has one worker at a time, survives its death, and is not tried for ever."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.domain.actions import cancelling, publishing, running, upkeep
from app.domain.actions.queueing import ring_waiting
from app.domain.actions.running import Pulse
from app.domain.audit import AuditEntry
from app.domain.catalog import Revision, Version
from app.domain.errors import Conflict, FenceLost, NotFound
from app.domain.failures import failure
from app.domain.jobs import Bell, Job
from app.domain.requests import Request
from app.infra import clock
from app.infra.db import writing
from app.infra.settings import settings
from tests import builders as make


@pytest.fixture
def request_id(tenant: str, dataset: str, version: str) -> str:
    return make.delete(tenant, dataset, "s0")


@pytest.fixture
def job(request_id: str) -> str:
    return make.jobs_of(request_id)[0]


def test_a_lapsed_lease_lets_another_worker_in_and_the_first_one_out(
    job: str, version: str
) -> None:
    first = make.claim(job)
    with pytest.raises(LookupError):
        make.claim(job)
    make.lapse(job)
    second = make.claim(job)
    assert second > first
    with writing() as tx:
        assert running.heartbeat(tx, job, first) is Pulse.LOST
        assert running.heartbeat(tx, job, second) is Pulse.ALIVE
        assert running.progress(tx, job, first, "updating", 0.5) is Pulse.LOST
    with pytest.raises(FenceLost):
        make.publish(job, first)
    with pytest.raises(FenceLost):
        make.reject(job, first)
    assert make.state(Version, version) == "tainted"
    new = make.publish(job, second)
    with pytest.raises(FenceLost):
        make.publish(job, second)
    with writing() as tx:
        made = tx.scalars(select(Version.id).where(Version.produced_by_job_id == job)).all()
    assert made == [new]


def test_a_heartbeat_extends_the_lease_and_writes_no_entry(job: str) -> None:
    fence = make.claim(job)
    make.lapse(job)
    with writing() as tx:
        before = len(tx.scalars(select(AuditEntry)).all())
        assert running.heartbeat(tx, job, fence) is Pulse.ALIVE
        assert len(tx.scalars(select(AuditEntry)).all()) == before
    assert make.read(Job, job).lease_until > clock.now()
    with pytest.raises(LookupError):
        make.claim(job)


def test_progress_is_visible_and_numbered(job: str) -> None:
    fence = make.claim(job)
    before = make.read(Job, job)
    with writing() as tx:
        running.progress(tx, job, fence, "curvature", 0.25)
    after = make.read(Job, job)
    assert (after.phase, after.fraction) == ("curvature", 0.25)
    assert after.progress_number > before.progress_number
    assert after.row_version == before.row_version
    with pytest.raises(ValueError, match="phase"), writing() as tx:
        running.progress(tx, job, fence, "dreaming", 0.5)


def test_attempts_are_bounded_and_then_a_person_decides(job: str, request_id: str) -> None:
    for _ in range(settings().max_attempts):
        make.claim(job)
        make.lapse(job)
    with pytest.raises(LookupError):
        make.claim(job)
    ended = make.read(Job, job)
    assert (ended.state, ended.error["code"]) == ("failed", "attempts-exhausted")
    assert [target.state for target in make.targets(request_id)] == ["failed"]
    assert make.state(Request, request_id) == "needs_attention"


def test_the_sweeper_takes_jobs_back_and_gives_up_in_the_end(job: str, request_id: str) -> None:
    for attempt in range(settings().max_attempts):
        make.claim(job)
        make.lapse(job)
        with writing() as tx:
            assert upkeep.requeue_lapsed(tx) == 1
        is_last = attempt == settings().max_attempts - 1
        assert make.state(Job, job) == ("failed" if is_last else "queued")
    assert make.state(Request, request_id) == "needs_attention"


def test_a_job_handed_back_waits_longer_each_time(job: str) -> None:
    pauses = []
    for _ in range(3):
        fence = make.claim(job)
        with writing() as tx:
            before = clock.database_now(tx)
            released = running.release(tx, job, fence, failure("unexpected"))
            pauses.append((released.not_before - before).total_seconds())
            assert released.error == failure("unexpected")
        with pytest.raises(LookupError):
            make.claim(job)
        with writing() as tx:
            tx.get_one(Job, job).not_before = clock.now() - timedelta(seconds=1)
    assert pauses == pytest.approx([1, 2, 4], abs=0.5)


def test_a_running_job_is_asked_to_stop_and_its_request_waits_for_a_person(
    tenant: str, job: str, request_id: str, version: str
) -> None:
    fence = make.claim(job)
    with writing() as tx:
        cancelling.cancel_job(tx, make.ACTOR, tenant, job)
    assert make.state(Job, job) == "running"
    with writing() as tx:
        assert running.heartbeat(tx, job, fence) is Pulse.CANCEL
        assert running.stop(tx, job, fence).state == "cancelled"
    assert make.state(Request, request_id) == "needs_attention"
    assert make.state(Version, version) == "tainted"
    with pytest.raises(Conflict), writing() as tx:
        cancelling.cancel_job(tx, make.ACTOR, tenant, job)


def test_a_queued_job_is_cancelled_at_once(tenant: str, job: str, request_id: str) -> None:
    with writing() as tx:
        assert cancelling.cancel_job(tx, make.ACTOR, tenant, job).state == "cancelled"
    assert make.state(Request, request_id) == "needs_attention"
    with pytest.raises(LookupError):
        make.claim(job)


def test_internal_jobs_are_not_the_client_s(tenant: str, dataset: str) -> None:
    with writing() as tx:
        hidden = tx.scalars(select(Job.id).where(Job.kind == "import")).one()
    with pytest.raises(NotFound), writing() as tx:
        cancelling.cancel_job(tx, make.ACTOR, tenant, hidden)


def test_an_import_nobody_finishes_leaves_an_invalid_revision(tenant: str, dataset: str) -> None:
    job = make.begin_import(tenant, dataset)
    for _ in range(settings().max_attempts):
        make.claim(job)
        make.lapse(job)
    with writing() as tx:
        assert upkeep.requeue_lapsed(tx) == 1
        revision = tx.get_one(Revision, tx.get_one(Job, job).revision_id)
        assert revision.state == "invalid"
        assert revision.error == failure("attempts-exhausted", attempts=settings().max_attempts)


def test_a_lost_bell_is_rung_again(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing() as tx:
        assert job in upkeep.take_bells(tx)
        assert upkeep.take_bells(tx) == []
        assert tx.scalars(select(Bell)).all() == []
    with writing() as tx:
        assert upkeep.ring_due(tx) == 0  # it was rung for a moment ago
    with writing() as tx:
        past = clock.now() - timedelta(seconds=settings().ring_again_seconds + 1)
        tx.get_one(Job, job).rung_at = past
    with writing() as tx:
        assert upkeep.ring_due(tx) == 1
        assert upkeep.ring_due(tx) == 0  # that bell still hangs
        assert upkeep.take_bells(tx) == [job]


def test_bells_for_those_that_wait_do_not_pile_up(tenant: str, job: str) -> None:
    with writing() as tx:
        upkeep.take_bells(tx)
    with writing() as tx:
        ring_waiting(tx, tenant)
        ring_waiting(tx, tenant)
        bells = tx.scalars(select(Bell.job_id)).all()
        assert job in bells
        assert len(bells) == len(set(bells))


def test_a_batch_waits_for_its_time_or_its_size(tenant: str, dataset: str) -> None:
    model = make.make_model(tenant, batching={"max_wait_seconds": 3600, "max_samples": 3})
    make.make_version(tenant, model, dataset)
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    assert make.read(Job, job).not_before > clock.now() + timedelta(seconds=3000)
    with pytest.raises(LookupError):
        make.claim(job)
    assert make.jobs_of(make.delete(tenant, dataset, "s1", "s2")) == [job]
    make.claim(job)


def test_nothing_to_do_fulfils_the_target_with_the_version_itself(
    job: str, request_id: str, version: str
) -> None:
    fence = make.claim(job)
    with writing() as tx:
        publishing.nothing_to_do(tx, job, fence)
    [target] = make.targets(request_id)
    assert (target.state, target.result_version_id) == ("fulfilled", version)
    assert make.state(Version, version) == "live"
    assert make.state(Request, request_id) == "withdrawing"
    make.work_off()
    assert make.state(Version, version) == "live"
