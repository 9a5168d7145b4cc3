"""A deletion walks from intake to the destroyed rows."""

from sqlalchemy import func, select

from app.domain.actions import intake
from app.domain.catalog import Revision, Version
from app.domain.edits import view
from app.domain.jobs import Job
from app.domain.orders import (
    DeletionOrder,
)
from app.domain.requests import Request, RequestRows
from app.domain.suppression import Suppression
from app.infra.db import Base, writing
from tests import builders as make


def test_a_deletion_goes_from_the_answer_to_the_destroyed_rows(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0", "s1", "nobody")
    assert make.state(Request, request) == "scheduled"
    assert make.read(Request, request).counts == {
        "samples": 2,
        "unknown": 1,
        "already_deleted": 0,
    }
    assert make.state(Version, version) == "tainted"
    [job] = make.jobs_of(request)
    assert make.read(Job, job).samples == 2

    fence = make.claim(job)
    assert make.state(Request, request) == "running"
    [target] = make.targets(request)
    assert target.state == "running"
    with writing() as tx:
        what = view(tx, tx.get_one(Job, job))
    assert what.kind == "deletion"
    assert what.own.forget.tolist() == [0, 1]
    assert what.own.removed.tolist() == [0, 1]
    assert not len(what.own.replaced)

    new = make.publish(job, fence)
    assert make.state(Version, new) == "live"
    old = make.read(Version, version)
    assert (old.state, old.superseded_by) == ("superseded", new)
    [target] = make.targets(request)
    assert (target.state, target.result_version_id) == ("fulfilled", new)
    assert make.state(Request, request) == "withdrawing"

    plan = make.withdraw(request)
    assert old.weights_key in plan.objects
    assert make.read(Version, new).weights_key not in plan.objects
    kept = [key for prefix in plan.prefixes for key in prefix.keep]
    assert kept == [make.read(Version, new).weights_key]
    gone = make.read(Version, version)
    assert (gone.state, gone.weights_key, gone.curvature) == ("withdrawn", None, None)
    assert gone.withdrawn_at is not None
    assert gone.digest == f"sha256:{'01' * 32}"
    done = make.read(Request, request)
    assert done.state == "fulfilled"
    assert done.completed_at is not None
    with make.rows_of(dataset) as store:
        assert store.find(["s0", "s1", "s2"]).tolist() == [-1, -1, 2]
    with writing() as tx:
        record = tx.scalars(select(RequestRows)).one()
        assert (record.rows, record.corrections, record.count) == (None, None, 2)
        assert tx.scalars(select(Revision)).one().erased_rows == 2
        assert tx.scalar(select(func.count()).select_from(Suppression)) == 3


def test_no_sample_id_is_in_any_table(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s0", "unheard-of", subject_ids=("s-person3",))
    make.publish(make.jobs_of(request)[0])
    make.withdraw(request)

    with writing() as tx:
        for table in Base.metadata.sorted_tables:
            for row in tx.execute(select(table)):
                text = repr(tuple(row))
                assert "s-person3" not in text
                assert "unheard-of" not in text
                assert "'s0'" not in text


def test_a_request_reaches_descendants_of_any_model(
    tenant: str, dataset: str, model: str, version: str
) -> None:
    other = make.make_dataset(tenant, make.table(prefix="t"))
    child = make.make_version(tenant, make.make_model(tenant), other, parent_id=version)
    grandchild = make.make_version(tenant, make.make_model(tenant), other, parent_id=child)
    bystander = make.make_version(tenant, make.make_model(tenant), other)
    request = make.delete(tenant, dataset, "s3")
    reached = {target.version_id for target in make.targets(request)}
    assert reached == {version, child, grandchild}
    assert make.state(Version, bystander) == "live"
    [job] = [job for job in make.jobs_of(request) if make.read(Job, job).version_id == child]
    make.claim(job)
    with writing() as tx:
        what = view(tx, tx.get_one(Job, job))
    assert not len(what.own.forget)
    [inherited] = what.inherited
    assert inherited.dataset_id == dataset
    assert inherited.forget.tolist() == [3]


def test_held_out_rows_are_erased_without_a_target(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s19")
    assert make.state(Request, request) == "withdrawing"
    assert make.targets(request) == []
    make.work_off()
    assert make.state(Request, request) == "fulfilled"
    assert make.state(Version, version) == "live"
    with make.rows_of(dataset) as store:
        assert store.find(["s19"]).tolist() == [-1]


def test_unknown_ids_end_as_nothing_found_and_are_suppressed_all_the_same(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "nobody", "no-one")
    found = make.read(Request, request)
    assert (found.state, found.counts["unknown"]) == ("nothing_found", 2)
    assert found.completed_at is not None
    assert make.state(Version, version) == "live"
    make.add_revision(tenant, dataset, make.table(2, prefix="fresh", held_out=1))
    content = make.table(2, prefix="fresh", held_out=1)
    late = make.Table(["nobody", "b"], content.persons, content.parts, content.cells)
    revision = make.add_revision(tenant, dataset, late)
    refused = make.read(Revision, revision)
    assert refused.state == "invalid"
    assert refused.error["code"] == "suppressed-samples"
    assert refused.error["samples"] == 1


def test_a_deletion_by_subject_and_by_label(tenant: str, dataset: str, version: str) -> None:
    by_subject = make.delete(tenant, dataset, subject_ids=("s-person1",))
    assert make.read(Request, by_subject).counts["samples"] == 2
    by_label = make.delete(tenant, dataset, labels=(2,))
    assert make.read(Request, by_label).counts["samples"] == 6
    make.work_off()
    with make.rows_of(dataset) as store:
        assert store.erased_rows == 7  # s2, s3 and s5, s8, s11, s14, s17
    content = make.table(1, prefix="other", held_out=0)
    newcomer = make.Table(["other"], ["s-person1"], content.parts, content.cells)
    revision = make.add_revision(tenant, dataset, newcomer)
    assert make.read(Revision, revision).error["subjects"] == 1
    dropped = make.add_revision(tenant, dataset, make.table(), on_suppressed="drop")
    assert make.read(Revision, dropped).rows == 13


def test_a_preview_tells_and_changes_nothing(
    tenant: str, dataset: str, model: str, version: str
) -> None:
    with writing() as tx:
        told = intake.preview_deletion(tx, tenant, DeletionOrder(dataset, ("s0", "s19", "no")))
    assert told.counts == {"samples": 2, "unknown": 1, "already_deleted": 0}
    [target] = told.targets
    assert (target.version_id, target.model_id, target.rows) == (version, model, 1)
    assert target.method == "auto"
    assert target.estimated_seconds > 0
    assert make.state(Version, version) == "live"
    with writing() as tx:
        assert tx.scalars(select(Request)).all() == []
        assert tx.scalars(select(Suppression)).all() == []
