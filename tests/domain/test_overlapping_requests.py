"""Requests that meet on one version, and versions that share rows."""

import pytest

from app.domain.actions import retrying
from app.domain.catalog import Version
from app.domain.jobs import Job
from app.domain.requests import Request
from app.infra.db import writing
from tests import builders as make


def test_requests_join_a_queued_job_and_not_a_running_one(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    second = make.delete(tenant, dataset, "s1", "s2")
    assert make.jobs_of(first) == make.jobs_of(second)
    [job] = make.jobs_of(first)
    assert make.read(Job, job).samples == 3
    fence = make.claim(job)
    third = make.delete(tenant, dataset, "s3")
    [later] = make.jobs_of(third)
    assert later != job
    with pytest.raises(LookupError):
        make.claim(later)

    new = make.publish(job, fence)
    assert make.state(Version, new) == "tainted"
    [target] = make.targets(third)
    assert (target.state, target.version_id, target.first_version_id) == (
        "waiting",
        new,
        version,
    )
    assert make.read(Job, later).version_id == new
    newest = make.publish(later)
    assert make.state(Version, newest) == "live"
    make.work_off()
    for request in (first, second, third):
        assert make.state(Request, request) == "fulfilled"
    assert make.state(Version, version) == "withdrawn"
    assert make.state(Version, new) == "withdrawn"
    assert make.state(Version, newest) == "live"


def test_the_same_ids_deleted_twice_need_one_publication(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0", "s1")
    [job] = make.jobs_of(first)
    fence = make.claim(job)
    second = make.delete(tenant, dataset, "s1")
    assert make.read(Request, second).counts["samples"] == 1
    [later] = make.jobs_of(second)
    new = make.publish(job, fence)
    assert make.state(Version, new) == "live"
    [target] = make.targets(second)
    assert (target.state, target.result_version_id) == ("fulfilled", new)
    assert make.state(Job, later) == "cancelled"
    third = make.delete(tenant, dataset, "s0")
    assert make.targets(third) == []
    make.work_off()
    assert [make.state(Request, id) for id in (first, second, third)] == ["fulfilled"] * 3
    fourth = make.delete(tenant, dataset, "s0")
    assert make.read(Request, fourth).counts == {
        "samples": 0,
        "unknown": 0,
        "already_deleted": 1,
    }
    assert make.state(Request, fourth) == "nothing_found"


def test_a_duplicate_is_not_closed_before_the_original(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    second = make.delete(tenant, dataset, "s0")
    assert len(make.targets(second)) == 1
    assert make.state(Request, second) == "scheduled"
    make.work_off()
    assert make.state(Request, first) == make.state(Request, second) == "fulfilled"


def test_rows_stay_while_a_second_model_is_stuck(tenant: str, dataset: str, version: str) -> None:
    stuck_model = make.make_model(tenant, on_gate_failure=["attention"])
    stuck = make.make_version(tenant, stuck_model, dataset)
    request = make.delete(tenant, dataset, "s0")
    jobs = {make.read(Job, job).version_id: job for job in make.jobs_of(request)}
    make.reject(jobs[stuck])
    assert make.state(Request, request) == "needs_attention"
    make.publish(jobs[version])
    assert make.state(Request, request) == "needs_attention"
    assert make.state(Version, version) == "superseded"
    make.work_off()
    with make.rows_of(dataset) as store:
        assert store.find(["s0"]).tolist() == [0]

    with writing() as tx:
        retrying.retry_request(tx, make.ACTOR, tenant, request)
    assert make.state(Request, request) == "scheduled"
    make.work_off()
    assert make.state(Request, request) == "fulfilled"
    assert make.state(Version, stuck) == "withdrawn"
    with make.rows_of(dataset) as store:
        assert store.find(["s0"]).tolist() == [-1]
