"""What a line of versions has been through is carried from report to report."""

from dataclasses import asdict
from typing import Any

import pytest

from app.domain import budgets, edits
from app.domain.budgets import Line, Step
from app.domain.catalog import Version
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.infra.db import reading
from tests import builders as make

NOISE = {"standard_deviation": 2.0, "gradient_norm": 0.25}
NO_LIMITS: dict[str, Any] = {}


def line(version_id: str) -> Line:
    with reading() as tx:
        return budgets.line_of(tx, tx.get_one(Version, version_id))


def publish(job_id: str, *, is_trained: bool = False, residual: float | None = None) -> str:
    """Publish with the sums a worker would write."""
    with reading() as tx:
        before = budgets.line_of(tx, tx.get_one(Version, tx.get_one(Job, job_id).version_id))
    step = Step(requests=1, rows=2, share=0.125, drift=0.5)
    document = budgets.document(NO_LIMITS, before, step, is_trained=is_trained, residual=residual)
    return make.publish(job_id, lineage=document)


def deleted(tenant: str, dataset: str, sample: str, **how: Any) -> str:
    [job] = make.jobs_of(make.delete(tenant, dataset, sample))
    return publish(job, **how)


def test_sums_begin_with_an_upload_grow_with_updates_and_end_with_training(
    tenant: str, dataset: str, model: str
) -> None:
    first = make.make_version(tenant, model, dataset)
    assert line(first) == Line(first)

    one = deleted(tenant, dataset, "s0", residual=1.5)
    assert line(one) == Line(first, 1, 2, 0.125, 0.5, 1.5)
    two = deleted(tenant, dataset, "s1")
    assert line(two) == Line(first, 2, 4, 0.25, 1.0, None)

    again = deleted(tenant, dataset, "s2", is_trained=True, residual=0.125)
    assert line(again) == Line(again, residual=0.125)
    later = deleted(tenant, dataset, "s3", residual=0.5)
    assert line(later) == Line(again, 1, 2, 0.125, 0.5, 0.5)


def test_a_fine_tuned_version_goes_on_where_its_parent_stood(
    tenant: str, dataset: str, model: str
) -> None:
    first = make.make_version(tenant, model, dataset)
    one = deleted(tenant, dataset, "s0", residual=1.5)
    tuned = make.make_version(
        tenant,
        model,
        dataset,
        parent_id=one,
        weight_decay=0.1,
        recipe={**make.RECIPE, "perturbation": NOISE},
    )
    # What its own training left is its own affair; what the parent was through is not undone.
    assert line(tuned) == Line(first, 1, 2, 0.125, 0.5, residual=0.25)


def test_reports_from_before_there_were_sums_count_for_nothing_and_prove_nothing(
    tenant: str, dataset: str, version: str
) -> None:
    [job] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    result = make.publish(job)
    assert line(result) == Line(result)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({}, None),
        ({"requests": None, "share": None, "drift": None}, None),
        ({"requests": 4, "share": 0.2, "drift": 1.0}, None),
        ({"requests": 3}, "requests"),
        ({"share": 0.19}, "share"),
        ({"drift": 0.99}, "drift"),
        ({"requests": 0, "drift": 0.0}, "requests"),
    ],
)
def test_a_limit_may_be_reached_and_not_passed(limits: dict[str, Any], name: str | None) -> None:
    found = budgets.exceeded(limits, Line("mv_a", 3, 30, 0.1, 0.75), Step(1, 10, 0.1, drift=0.25))
    assert (None if found is None else found.name) == name
    if found is not None:
        assert found.used > found.limit == limits[found.name]
        assert found.name in str(found)


def rows_of(job_id: str) -> dict[str, Any]:
    with reading() as tx:
        own = edits.view(tx, tx.get_one(Job, job_id)).own
    return {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in asdict(own).items()
        if name in ("forget", "removed", "pending", "is_separate")
    }


def test_rows_that_other_requests_delete_are_still_held(
    tenant: str, dataset: str, version: str
) -> None:
    [running] = make.jobs_of(make.delete(tenant, dataset, "s1"))
    fence = make.claim(running)
    other = make.delete(tenant, dataset, "s4")
    assert rows_of(running) == {
        "forget": [1],
        "removed": [1, 4],
        "pending": [4],
        "is_separate": True,
    }
    make.publish(running, fence)
    [second] = make.jobs_of(other)
    assert rows_of(second) == {
        "forget": [4],
        "removed": [1, 4],
        "pending": [],
        "is_separate": True,
    }


def test_requests_on_the_same_rows_are_not_separate(
    tenant: str, dataset: str, version: str
) -> None:
    [deleting] = make.jobs_of(make.delete(tenant, dataset, "s1", "s2"))
    fence = make.claim(deleting)
    request = make.correct(tenant, dataset, Correction("s3", label=1))
    assert rows_of(deleting)["is_separate"] is True
    make.publish(deleting, fence)
    [correcting] = make.jobs_of(request)
    fence = make.claim(correcting)
    make.delete(tenant, dataset, "s3")
    found = rows_of(correcting)
    assert (found["forget"], found["is_separate"]) == ([3], False)


def test_two_corrections_of_one_row_are_not_separate(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.correct(tenant, dataset, Correction("s3", label=1))
    [running] = make.jobs_of(first)
    make.claim(running)
    make.correct(tenant, dataset, Correction("s3", features={"age": 1}))
    assert rows_of(running)["is_separate"] is False
