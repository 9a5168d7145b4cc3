"""Records of runs: sealed keys, one record a job, and what goes when rows go."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from app.domain.actions import datasets, versions
from app.domain.actions.recording import RunKeys, record_run
from app.domain.audit import AuditEntry
from app.domain.catalog import Version
from app.domain.errors import FenceLost
from app.domain.orders import Correction
from app.domain.runs import RunRecord, open_key, open_rows
from app.infra.db import reading, writing
from app.infra.keys import BoxDamaged
from tests import builders as make

KEYS = RunKeys()


def document_of(job: str, dataset: str, *known: str) -> dict[str, Any]:
    return {
        "job_id": job,
        "data": [{"dataset_id": dataset, "revision": 1, "manifest": "0" * 64}],
        "requests": {"served": list(known[:1]), "in_force": list(known)},
        "parameters": {"fraction": 0.1},
    }


def record(job: str, dataset: str, *known: str, fence: int | None = None) -> int:
    fence = make.claim(job) if fence is None else fence
    rows = {(dataset, 1): np.array([3, 5], np.int64)}
    with writing() as tx:
        record_run(tx, job, fence, document_of(job, dataset, *known), KEYS, rows)
    return fence


def found(job: str) -> RunRecord:
    with reading() as tx:
        return tx.get_one(RunRecord, job)


def test_keys_and_rows_open_for_their_own_job_alone(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    record(job, dataset, request)
    kept = found(job)
    assert (open_key(kept, "lasting"), open_key(kept, "passing")) == (KEYS.lasting, KEYS.passing)
    assert {place: list(rows) for place, rows in open_rows(kept).items()} == {(dataset, 1): [3, 5]}
    assert KEYS.lasting not in (kept.lasting_key or b"")
    kept.passing_key = kept.lasting_key
    with pytest.raises(BoxDamaged):
        open_key(kept, "passing")


def test_a_later_attempt_takes_the_place_of_an_earlier_one(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    fence = record(job, dataset, request)
    first = found(job).sha256
    record(job, dataset, request, "req_more", fence=fence)
    assert found(job).sha256 != first
    with pytest.raises(FenceLost):
        record(job, dataset, request, fence=fence - 1)


def test_the_digest_of_the_record_is_logged_with_the_success(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    make.publish(job, record(job, dataset, request))
    query = select(AuditEntry).where(AuditEntry.job_id == job, AuditEntry.type == "job.succeeded")
    with reading() as tx:
        assert tx.scalars(query).one().facts["run_sha256"] == found(job).sha256


def test_the_end_of_a_request_takes_the_passing_key_of_the_run_that_served_it(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    make.publish(job, record(job, dataset, request))
    make.work_off()
    kept = found(job)
    assert kept.passing_key is None
    assert open_key(kept, "lasting") == KEYS.lasting


@pytest.mark.parametrize("kind", ["deletion", "correction"])
def test_a_request_that_the_run_did_not_know_of_takes_all(
    tenant: str, dataset: str, version: str, kind: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(first)
    make.publish(job, record(job, dataset, first))
    make.work_off()
    if kind == "deletion":
        make.delete(tenant, dataset, "s1")
    else:
        make.correct(tenant, dataset, Correction("s1", label=2))
    make.work_off()
    kept = found(job)
    assert (kept.lasting_key, kept.passing_key, kept.replaced) == (None, None, None)


def test_rows_of_another_data_set_take_nothing(tenant: str, dataset: str, version: str) -> None:
    first = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(first)
    make.publish(job, record(job, dataset, first))
    make.work_off()
    make.delete(tenant, make.make_dataset(tenant, make.table(prefix="other")), "other1")
    make.work_off()
    assert found(job).lasting_key is not None


def test_deleting_the_data_set_takes_all(
    tenant: str, dataset: str, model: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(first)
    make.publish(job, record(job, dataset, first))
    make.work_off()
    with writing() as tx:
        live = tx.scalars(select(Version).where(Version.state == "live")).all()
        for serving in live:
            versions.withdraw_version(tx, make.ACTOR, tenant, model, serving.id)
    make.work_off()
    with writing() as tx:
        datasets.delete_dataset(tx, make.ACTOR, tenant, dataset)
    make.work_off()
    assert found(job).lasting_key is None
