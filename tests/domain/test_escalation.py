"""What follows a result that fails its gates."""

from app.domain.catalog import Version
from app.domain.jobs import Job
from app.domain.requests import Request
from tests import builders as make


def test_a_failed_gate_retrains_then_waits_for_a_person(
    tenant: str, dataset: str, model: str
) -> None:
    version = make.make_version(tenant, model, dataset, recipe=make.RECIPE)
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    make.reject(job)
    failed = make.read(Job, job)
    assert (failed.state, failed.error["code"]) == ("failed", "gates-failed")
    [retraining] = make.jobs_of(request)
    again = make.read(Job, retraining)
    assert (again.method, again.escalated_from, again.samples) == ("retrain", job, 1)
    [target] = make.targets(request)
    assert target.state == "waiting"
    assert make.state(Version, version) == "tainted"
    make.reject(retraining)
    [target] = make.targets(request)
    assert target.state == "failed"
    assert make.state(Request, request) == "needs_attention"
    assert make.state(Version, version) == "tainted"


def test_without_a_recipe_there_is_no_retraining(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s0")
    make.reject(make.jobs_of(request)[0])
    assert make.jobs_of(request) == []
    assert make.state(Request, request) == "needs_attention"
