"""What a withdrawal destroys, and what it waits for or leaves alone."""

from pathlib import Path

import pytest

from app.domain.actions import importing, upkeep, withdrawal
from app.domain.catalog import Revision, Version
from app.domain.jobs import Job
from app.domain.requests import Request
from app.infra.db import writing
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
