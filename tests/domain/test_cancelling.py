"""Cancelling lifts what one request alone did, and comes too late once a job has started."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.catalog import Version, VersionTaint
from app.domain.errors import Conflict, StaleVersion
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.domain.requests import Request, RequestRows
from app.domain.suppression import Suppression
from app.infra.db import writing
from tests import builders as make


@pytest.fixture
def home(sqlite_home: Path) -> Path:
    """Rules alone: the walk on both databases is tested elsewhere."""
    return sqlite_home


def test_a_cancelled_request_leaves_no_trace_on_versions_and_rows(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0", "nobody", subject_ids=("s-person4",))
    [job] = make.jobs_of(request)
    assert make.cancel(tenant, request) == "cancelled"
    assert make.state(Version, version) == "live"
    assert make.state(Job, job) == "cancelled"
    assert [target.state for target in make.targets(request)] == ["cancelled"]
    with writing() as tx:
        assert tx.scalars(select(Suppression)).all() == []
        assert tx.scalars(select(VersionTaint)).all() == []
        assert tx.scalars(select(RequestRows)).one().rows is None
    make.work_off()
    with make.rows_of(dataset) as store:
        assert store.erased_rows == 0
    with pytest.raises(Conflict):
        make.cancel(tenant, request)


def test_only_what_this_request_alone_did_is_lifted(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0", "s1")
    second = make.delete(tenant, dataset, "s1", "s2")
    [job] = make.jobs_of(first)
    make.cancel(tenant, first)
    assert make.state(Version, version) == "tainted"
    left = make.read(Job, job)
    assert (left.state, left.samples) == ("queued", 2)
    with writing() as tx:
        kept = tx.scalars(select(Suppression.request_id)).all()
    assert kept == [second, second]
    make.work_off()
    assert make.state(Request, second) == "fulfilled"
    with make.rows_of(dataset) as store:
        assert store.find(["s0", "s1", "s2"]).tolist() == [0, -1, -1]


def test_a_started_job_cannot_be_called_back(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    fence = make.claim(job)
    for _ in range(2):
        with pytest.raises(Conflict) as conflict:
            make.cancel(tenant, request)
        assert conflict.value.code == "job-started"
    make.publish(job, fence)
    with pytest.raises(Conflict) as conflict:
        make.cancel(tenant, request)
    assert conflict.value.code == "job-started"


def test_rows_without_a_target_can_be_kept_until_the_erasure_starts(
    tenant: str, dataset: str, version: str
) -> None:
    early = make.delete(tenant, dataset, "s18")
    assert make.cancel(tenant, early) == "cancelled"
    late = make.delete(tenant, dataset, "s19")
    make.claim(make.withdraw_job(late))
    with pytest.raises(Conflict) as conflict:
        make.cancel(tenant, late)
    assert conflict.value.code == "job-started"
    with make.rows_of(dataset) as store:
        assert store.find(["s18"]).tolist() == [18]


def test_a_cancelled_correction_lets_the_old_value_in_again(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.correct(tenant, dataset, Correction("s0", label=2))
    make.cancel(tenant, request)
    make.add_revision(tenant, dataset, make.table())
    with make.rows_of(dataset, 2) as store:
        assert store.rows == 20


def test_a_stale_etag_is_refused(tenant: str, dataset: str, version: str) -> None:
    from app.domain.actions import cancelling

    request = make.delete(tenant, dataset, "s0")
    etag = make.read(Request, request).etag
    make.claim(make.jobs_of(request)[0])
    with pytest.raises(StaleVersion), writing() as tx:
        cancelling.cancel_request(tx, make.ACTOR, tenant, request, etag)
