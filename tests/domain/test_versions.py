"""Versions that arrive, serve and go while requests are open."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.domain.actions import datasets, models, versions, withdrawal
from app.domain.catalog import Dataset, Model, Revision, Version
from app.domain.errors import Conflict, Gone, NotFound, Refused
from app.domain.jobs import Job
from app.domain.queries import catalog
from app.domain.requests import Request
from app.infra.db import writing
from app.infra.settings import settings
from tests import builders as make


@pytest.fixture
def home(sqlite_home: Path) -> Path:
    """Rules alone: the walk on both databases is tested elsewhere."""
    return sqlite_home


def withdraw_version(tenant: str, model: str, version: str) -> None:
    with writing() as tx:
        versions.withdraw_version(tx, make.ACTOR, tenant, model, version)


def test_a_version_waiting_for_weights_arrives_tainted(
    tenant: str, dataset: str, model: str
) -> None:
    early = make.register(tenant, model, dataset)
    stuck = make.make_version(tenant, make.make_model(tenant), dataset)
    request = make.delete(tenant, dataset, "s0")
    late = make.register(tenant, model, dataset)
    assert {target.version_id for target in make.targets(request)} == {stuck}
    for version in (early, late):
        assert make.state(Version, version) == "awaiting_weights"
        assert make.validate(make.upload_weights(tenant, model, version)) == "tainted"
    assert {target.version_id for target in make.targets(request)} == {stuck, early, late}
    make.work_off()
    assert make.state(Request, request) == "fulfilled"
    with writing() as tx:
        serving = tx.scalars(select(Version).where(Version.state == "live")).all()
        assert {version.parent_id for version in serving} == {stuck, early, late}


def test_a_validating_version_is_a_target_whose_job_waits(
    tenant: str, dataset: str, model: str
) -> None:
    version = make.register(tenant, model, dataset)
    validation = make.upload_weights(tenant, model, version)
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    with pytest.raises(LookupError):
        make.claim(job)
    assert make.validate(validation) == "tainted"
    assert len(make.targets(request)) == 1
    make.publish(job)


def test_weights_that_arrive_during_the_owner_s_delay_call_the_withdrawal_back(
    tenant: str, dataset: str
) -> None:
    model = make.make_model(tenant, withdraw_after_seconds=3600)
    make.make_version(tenant, model, dataset)
    late = make.register(tenant, model, dataset)
    request = make.delete(tenant, dataset, "s0")
    make.publish(make.jobs_of(request)[0])
    assert make.state(Request, request) == "withdrawing"
    ending = make.withdraw_job(request)
    assert make.validate(make.upload_weights(tenant, model, late)) == "tainted"
    assert make.state(Request, request) == "scheduled"
    assert make.state(Job, ending) == "cancelled"
    make.publish(make.jobs_of(request)[0])
    assert make.state(Request, request) == "withdrawing"
    assert make.withdraw_job(request) != ending


def test_weights_trained_on_erased_rows_are_refused(tenant: str, dataset: str, model: str) -> None:
    version = make.register(tenant, model, dataset)
    request = make.delete(tenant, dataset, "s0")
    make.work_off()
    assert make.state(Request, request) == "fulfilled"
    assert make.validate(make.upload_weights(tenant, model, version)) == "invalid"
    refused = make.read(Version, version)
    assert refused.error["code"] == "trained-on-erased-rows"
    key = refused.weights_key
    with writing() as tx:
        query = select(Job.id).where(Job.version_id == version, Job.kind == "withdraw")
        job = tx.scalars(query).one()
    assert key in make.run_withdrawal(job).objects
    gone = make.read(Version, version)
    assert (gone.state, gone.weights_key) == ("invalid", None)


def test_a_fine_tuned_copy_of_a_withdrawn_version_is_refused(
    tenant: str, dataset: str, model: str
) -> None:
    parent = make.make_version(tenant, model, dataset)
    request = make.delete(tenant, dataset, "s0")
    make.work_off()
    assert make.state(Version, parent) == "withdrawn"
    other = make.make_dataset(tenant, make.table(prefix="t"))
    child = make.register(tenant, model, other, parent_id=parent)
    assert make.validate(make.upload_weights(tenant, model, child)) == "invalid"
    successor = make.targets(request)[0].result_version_id
    assert successor is not None
    clean = make.register(tenant, model, other, parent_id=successor)
    assert make.validate(make.upload_weights(tenant, model, clean)) == "live"


def test_a_superseded_version_is_withdrawn_by_a_later_request_too(
    tenant: str, dataset: str
) -> None:
    model = make.make_model(tenant, withdraw_after_seconds=3600)
    old = make.make_version(tenant, model, dataset)
    first = make.delete(tenant, dataset, "s0")
    make.publish(make.jobs_of(first)[0])
    assert make.state(Version, old) == "superseded"
    with pytest.raises(LookupError):
        make.withdraw(first)  # the owner's delay is not over
    with pytest.raises(Conflict), writing() as tx:
        versions.require_offered(tx.get_one(Version, old))
    second = make.delete(tenant, dataset, "s1")
    assert [target.version_id for target in make.targets(second)] != [old]
    make.publish(make.jobs_of(second)[0])
    with writing() as tx:
        job = tx.get_one(Job, make.withdraw_job(second))
        job.not_before = job.created_at
    plan = make.withdraw(second)
    assert make.read(Version, old).state == "withdrawn"
    assert len([key for key in plan.objects if key.startswith("weights/")]) == 2


def test_the_owner_withdraws_a_version_and_nothing_is_left_to_unlearn(
    tenant: str, dataset: str, model: str
) -> None:
    version = make.make_version(tenant, model, dataset)
    request = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(request)
    fence = make.claim(job)
    withdraw_version(tenant, model, version)
    assert make.state(Job, job) == "cancelled"
    from app.domain.errors import FenceLost

    with pytest.raises(FenceLost):
        make.publish(job, fence)
    assert make.state(Request, request) == "withdrawing"
    with pytest.raises(Gone), writing() as tx:
        versions.require_offered(tx.get_one(Version, version))
    make.work_off()
    assert make.state(Request, request) == "fulfilled"
    assert make.read(Version, version).weights_key is None
    with pytest.raises(Conflict):
        withdraw_version(tenant, model, version)


def test_the_weights_of_a_withdrawn_version_are_gone_in_the_end(
    tenant: str, dataset: str, model: str
) -> None:
    version = make.make_version(tenant, model, dataset)
    withdraw_version(tenant, model, version)
    with writing() as tx:
        query = select(Job.id).where(Job.version_id == version, Job.kind == "withdraw")
        job = tx.scalars(query).one()
    for _ in range(settings().max_attempts + 2):
        make.claim(job)
        make.lapse(job)
    make.run_withdrawal(job)
    assert make.read(Version, version).weights_key is None


def test_deleting_a_model_withdraws_its_versions_and_frees_the_dataset(
    tenant: str, dataset: str, model: str
) -> None:
    version = make.make_version(tenant, model, dataset)
    with pytest.raises(Conflict) as conflict, writing() as tx:
        datasets.delete_dataset(tx, make.ACTOR, tenant, dataset)
    assert conflict.value.code == "in-use"
    with writing() as tx:
        models.delete_model(tx, make.ACTOR, tenant, model)
    assert make.state(Version, version) == "withdrawn"
    with pytest.raises(NotFound), writing() as tx:
        catalog.load(tx, Model, tenant, model)
    with writing() as tx:
        datasets.delete_dataset(tx, make.ACTOR, tenant, dataset)
        folder = settings().rows_folder / tx.scalars(select(Revision)).one().folder
    assert folder.exists()
    make.work_off()
    assert not folder.exists()
    with pytest.raises(NotFound), writing() as tx:
        catalog.load(tx, Dataset, tenant, dataset)


def test_nothing_live_is_ever_on_a_withdrawal_s_list(tenant: str, dataset: str, model: str) -> None:
    version = make.make_version(tenant, model, dataset)
    bystander = make.make_version(tenant, model, dataset, training_split="test", holdout_split=None)
    request = make.delete(tenant, dataset, "s0", "s1")
    make.publish(make.jobs_of(request)[0])
    job = make.withdraw_job(request)
    fence = make.claim(job)
    with writing() as tx:
        plan = withdrawal.plan(tx, job, fence)
        living = tx.scalars(
            select(Version).where(Version.state.in_(("live", "tainted", "candidate")))
        ).all()
    assert {found.id for found in living} >= {bystander}
    for found in living:
        assert found.weights_key not in plan.objects
        for prefix in plan.prefixes:
            assert not str(found.weights_key).startswith(prefix.prefix) or (
                found.weights_key in prefix.keep
            )
    assert make.read(Version, version).weights_key in plan.objects


def test_declarations_are_held_against_the_dataset(tenant: str, dataset: str, model: str) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "/training_split": {"training_split": "nowhere"},
        "/dataset_revision": {"dataset_revision": 7},
        "/parent_id": {"parent_id": "mv_none"},
        "/objective": {"objective": "hinge"},
        "/weight_decay": {"weight_decay": -1.0},
        "/recipe/optimizer": {"recipe": {**make.RECIPE, "optimizer": "lion"}},
        "/recipe/trained": {"recipe": {**make.RECIPE, "trained": "nothing"}},
        "/recipe/perturbation/gradient_norm": {
            "recipe": {**make.RECIPE, "perturbation": {"standard_deviation": 1.0}}
        },
        "/recipe/perturbation/standard_deviation": {
            "recipe": {
                **make.RECIPE,
                "perturbation": {"standard_deviation": 0.0, "gradient_norm": 0.0},
            }
        },
        # A proof is about a strongly convex objective.
        "/recipe/perturbation": {
            "recipe": {
                **make.RECIPE,
                "perturbation": {"standard_deviation": 1.0, "gradient_norm": 0.0},
            }
        },
        "/inputs/kind": {"inputs": {"kind": "text"}},
        "/inputs/column": {"inputs": {"kind": "vector", "column": "y", "length": 2}},
        "/holdout_split": {"holdout_split": "train"},
    }
    for pointer, fields in wrong.items():
        with pytest.raises(Refused) as refused:
            make.register(tenant, model, dataset, **fields)
        assert [error.pointer for error in refused.value.errors] == [pointer]
    with pytest.raises(Refused) as refused:
        make.register(tenant, model, dataset, architecture={"builder": "sequential", "config": {}})
    assert refused.value.code == "invalid-architecture"
    with writing() as tx:
        assert tx.scalars(select(Version)).all() == []


def test_weights_are_uploaded_once(tenant: str, dataset: str, model: str) -> None:
    version = make.register(tenant, model, dataset)
    make.upload_weights(tenant, model, version)
    with pytest.raises(Conflict) as conflict:
        make.upload_weights(tenant, model, version)
    assert conflict.value.code == "weights-already-uploaded"
