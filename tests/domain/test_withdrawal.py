"""What a withdrawal destroys, and what it waits for or leaves alone."""

from pathlib import Path

import pytest

from app.domain.actions import importing, upkeep, withdrawal
from app.domain.catalog import Revision, Version
from app.domain.jobs import Job
from app.domain.orders import Correction
from app.domain.requests import Request, RequestRows
from app.domain.sealed_rows import corrections_of
from app.infra.db import writing
from app.infra.rows import Overlay
from app.infra.settings import settings
from tests import builders as make


def plan_of(job: str, fence: int) -> withdrawal.Plan:
    with writing() as tx:
        return withdrawal.plan(tx, job, fence)


def is_condemned(plan: withdrawal.Plan, key: str) -> bool:
    below = [prefix for prefix in plan.prefixes if key.startswith(prefix.prefix)]
    return key in plan.objects or any(key not in prefix.keep for prefix in below)


def test_what_another_request_s_job_has_just_stored_is_left_alone(
    tenant: str, dataset: str, version: str
) -> None:
    [first] = make.jobs_of(make.delete(tenant, dataset, "s0"))
    fence = make.claim(first)
    covered = make.delete(tenant, dataset, "s0")
    other = make.delete(tenant, dataset, "s1")
    [shared] = make.jobs_of(other)
    assert make.jobs_of(covered) == [shared]
    model = make.read(Version, make.publish(first, fence)).model_id
    assert make.state(Request, covered) == "withdrawing"

    lost = make.claim(shared)
    make.lapse(shared)
    with writing() as tx:
        upkeep.requeue_lapsed(tx)
    withdrawing = make.withdraw_job(covered)
    held = make.claim(withdrawing)
    running = make.claim(shared)
    plan = plan_of(withdrawing, held)
    place = f"weights/{tenant}/{model}/{shared}"
    assert is_condemned(plan, f"{place}/{lost}.safetensors")
    assert not is_condemned(plan, f"{place}/{running}.safetensors")
    assert not is_condemned(plan, f"{place}/{running + 1}.safetensors")
    assert shared not in plan.jobs

    new = make.publish(shared, running)
    last = make.withdraw_job(other)
    plan = plan_of(last, make.claim(last))
    assert shared in plan.jobs
    assert is_condemned(plan, f"{place}/{lost}.safetensors")
    assert not is_condemned(plan, str(make.read(Version, new).weights_key))


def test_rows_that_are_still_being_imported_are_waited_for(tenant: str, dataset: str) -> None:
    content = make.table()
    importing_job = make.begin_import(tenant, dataset, on_suppressed="drop")
    request = make.delete(tenant, dataset, "s0")
    job = make.withdraw_job(request)
    with pytest.raises(LookupError):
        make.claim(job)
    revision = make.run_import(importing_job, content, is_destroyed=False)
    with pytest.raises(LookupError):
        make.claim(job)
    with writing() as tx:
        upkeep.take_bells(tx)
        importing.forget_upload(tx, revision)
        assert job in upkeep.take_bells(tx)
    make.run_withdrawal(job)
    assert make.state(Request, request) == "fulfilled"


def test_uploads_that_come_later_are_not_waited_for(tenant: str, dataset: str) -> None:
    request = make.delete(tenant, dataset, "s0")
    make.begin_import(tenant, dataset, on_suppressed="drop")
    make.withdraw(request)
    assert make.state(Request, request) == "fulfilled"


def test_what_an_import_that_failed_for_good_left_behind_is_destroyed(
    tenant: str, dataset: str
) -> None:
    job = make.begin_import(tenant, dataset)
    revision = make.read(Revision, str(make.read(Job, job).revision_id))
    folder = settings().rows_folder / revision.folder
    folder.mkdir(parents=True)
    for _ in range(settings().max_attempts):
        make.claim(job)
        make.lapse(job)
    with writing() as tx:
        upkeep.requeue_lapsed(tx)
    assert make.state(Revision, revision.id) == "invalid"
    make.work_off()
    assert not Path(folder).exists()
    assert make.read(Revision, revision.id).upload_key is None


def pending(request: str, dataset: str) -> Overlay:
    with writing() as tx:
        return corrections_of(tx.get_one(RequestRows, (request, dataset, 1)))


def test_what_was_still_to_be_written_into_an_erased_row_is_forgotten(
    tenant: str, dataset: str, version: str
) -> None:
    """The correction waits for its job; the deletion of a held-out row does not."""
    correction = make.correct(
        tenant, dataset, *(Correction(id, features={"age": 77}) for id in ("s0", "s19"))
    )
    assert list(pending(correction, dataset).rows_of("age")) == [0, 19]
    deletion = make.delete(tenant, dataset, "s19")
    make.withdraw(deletion)
    assert make.state(Request, deletion) == "fulfilled"
    assert list(pending(correction, dataset).rows_of("age")) == [0]
    make.work_off()
    assert make.state(Request, correction) == "fulfilled"
    with make.rows_of(dataset) as store:
        assert store.cells("age", store.find(["s0"])) == [77]


def test_a_value_corrected_again_is_not_kept_for_the_earlier_request(
    tenant: str, dataset: str, version: str
) -> None:
    earlier = make.correct(
        tenant, dataset, *(Correction(id, features={"age": 77}) for id in ("s0", "s19"))
    )
    later = make.correct(tenant, dataset, Correction("s19", features={"age": 78}))
    make.withdraw(later)
    assert make.state(Request, later) == "fulfilled"
    [old, new] = pending(earlier, dataset).layers["age"]
    assert (old.rows.tolist(), old.values) == ([0], (77,))  # type: ignore[union-attr]
    assert (new.rows.tolist(), new.values) == ([19], (78,))  # type: ignore[union-attr]
