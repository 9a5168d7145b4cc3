"""A correction replaces cells and keeps the old ones from coming back."""

import numpy as np

from app.domain.actions import intake, retrying
from app.domain.catalog import Revision
from app.domain.edits import view
from app.domain.jobs import Job
from app.domain.orders import (
    Correction,
    CorrectionOrder,
    FeatureRemoval,
)
from app.domain.requests import Request
from app.infra.db import writing
from tests import builders as make


def test_a_correction_writes_the_cells_over_and_suppresses_the_old_ones(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.correct(
        tenant,
        dataset,
        Correction("s0", label=2),
        Correction("s1", features={"age": None, "sex": "x"}),
        Correction("s18", label=1),
    )
    found = make.read(Request, request)
    assert (found.state, found.correction_kind) == ("scheduled", "mixed")
    [job] = make.jobs_of(request)
    fence = make.claim(job)
    with writing() as tx:
        what = view(tx, tx.get_one(Job, job))
    assert what.own.forget.tolist() == [0, 1]
    assert what.own.replaced.tolist() == [0, 1]
    with make.rows_of(dataset) as store:
        rows = np.array([0, 1, 18])
        assert store.cells("label", rows, what.own.edited) == [2, 1, 1]
        assert store.cells("label", rows, what.own.trained) == [0, 1, 0]
    make.publish(job, fence)
    make.withdraw(request)
    assert make.state(Request, request) == "fulfilled"
    with make.rows_of(dataset) as store:
        assert store.cells("label", np.array([0, 18])) == [2, 1]
        assert store.cells("age", np.array([1])) == [None]
        assert store.cells("sex", np.array([1])) == ["x"]

    revision = make.add_revision(tenant, dataset, make.table())
    assert make.read(Revision, revision).error["values"] == 4
    revision = make.add_revision(tenant, dataset, make.table(), on_suppressed="drop")
    number = make.read(Revision, revision).number
    with make.rows_of(dataset, number) as store:
        assert store.cells("label", np.array([0, 1, 18])) == [2, 1, 1]
        assert store.cells("sex", np.array([0, 1])) == ["f", "x"]


def test_a_removed_feature_concerns_every_row(tenant: str, dataset: str, version: str) -> None:
    with writing() as tx:
        order = CorrectionOrder(dataset, feature_removal=FeatureRemoval(("sex",)))
        request = intake.submit_correction(tx, make.ACTOR, tenant, order).id
    assert make.read(Request, request).counts["samples"] == 20
    [job] = make.jobs_of(request)
    assert make.read(Job, job).samples == 15
    fence = make.claim(job)
    with writing() as tx:
        what = view(tx, tx.get_one(Job, job))
    assert what.kind == "feature_correction"
    assert what.own.forget.tolist() == what.own.replaced.tolist() == list(range(15))
    make.publish(job, fence)
    make.withdraw(request)
    with make.rows_of(dataset) as store:
        assert set(store.cells("sex", np.arange(20))) == {None}
    revision = make.add_revision(tenant, dataset, make.table(30))
    assert make.read(Revision, revision).error["values"] == 30
    revision = make.add_revision(tenant, dataset, make.table(30), on_suppressed="drop")
    number = make.read(Revision, revision).number
    with make.rows_of(dataset, number) as store:
        assert set(store.cells("sex", np.arange(30))) == {None}


def test_a_later_correction_of_a_cell_wins_even_if_it_is_written_first(
    tenant: str, dataset: str, version: str
) -> None:
    stuck = make.make_version(
        tenant, make.make_model(tenant, on_gate_failure=["attention"]), dataset
    )
    first = make.correct(tenant, dataset, Correction("s0", features={"age": 50}))
    jobs = {make.read(Job, job).version_id: job for job in make.jobs_of(first)}
    make.reject(jobs[stuck])
    second = make.correct(tenant, dataset, Correction("s0", features={"age": 60}))
    for job in make.jobs_of(second):
        make.publish(job)
    make.work_off()
    assert make.state(Request, second) == "fulfilled"
    assert make.state(Request, first) == "needs_attention"
    with make.rows_of(dataset) as store:
        assert store.cells("age", np.array([0])) == [60]

    with writing() as tx:
        retrying.retry_request(tx, make.ACTOR, tenant, first)
    make.work_off()
    assert make.state(Request, first) == "fulfilled"
    with make.rows_of(dataset) as store:
        assert store.cells("age", np.array([0])) == [60]
