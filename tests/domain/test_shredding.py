"""What a request named is shown to whom it concerns, and destroyed for good."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.domain import commitments
from app.domain.actions import running, shredding
from app.domain.audit import AuditEntry
from app.domain.edits import view
from app.domain.errors import Conflict, Gone, NotFound, StaleVersion
from app.domain.failures import failure
from app.domain.jobs import Job
from app.domain.log import RequestCommitment
from app.domain.orders import UNSET, Correction
from app.domain.requests import Request, RequestRows
from app.domain.sealed_rows import rows_of
from app.domain.tenant_keys import TenantKey
from app.infra import tenant_keys
from app.infra.db import reading, writing
from app.infra.keys import BoxDamaged
from app.infra.settings import settings
from app.infra.tenant_keys import KeyDestroyed
from app.ledger.disclosures import DisclosedDetail, DisclosedMember
from app.ledger.verify import Refused, verify_evidence
from app.ledger.verify_disclosed import verify_disclosed
from tests import builders as make
from tests.certified import certify, expected, files_of
from tests.sealed import handed_out

BETTER = Correction("s4", label=2)


def member(tenant: str, request: str, name: str) -> DisclosedMember:
    with writing() as tx:
        return shredding.disclose_member(tx, make.ACTOR, tenant, request, name)


def detail(tenant: str, request: str) -> DisclosedDetail:
    with writing() as tx:
        return shredding.disclose_detail(tx, make.ACTOR, tenant, request)


def shred(tenant: str, request: str) -> None:
    with writing() as tx:
        shredding.shred(tx, make.ACTOR, tenant, request)


def finish(tenant: str) -> None:
    with writing() as tx:
        shredding.wrap_anew(tx, tenant)
    with writing() as tx:
        shredding.destroy_retired(tx, tenant)


def epochs(tenant: str) -> dict[int, str]:
    with reading() as tx:
        query = select(TenantKey.epoch, TenantKey.state).where(TenantKey.tenant_id == tenant)
        return dict(tx.execute(query).all())


def crash_after(step: Callable[[Session], object]) -> None:
    """Let the process die between what a step does and its commit."""
    with reading() as tx:
        if tx.get_bind().dialect.name == "sqlite":
            tx.connection(execution_options={"writes": True})
        step(tx)
        tx.flush()


def key_files() -> set[str]:
    return {path.name.split(".", 1)[1] for path in settings().tenant_keys_folder.iterdir()}


@pytest.fixture
def deleted(tenant: str, dataset: str, version: str) -> str:
    request = make.delete(tenant, dataset, "s0", "s1", "nobody", reference="case 7")
    make.work_off()
    certify()
    return request


def test_each_member_is_shown_with_the_evidence_and_no_other(deleted: str, tenant: str) -> None:
    files = files_of(deleted)
    for name in ("sample:s0", "sample:s1", "sample:nobody"):
        shown = member(tenant, deleted, name)
        verify_disclosed(files, expected(), members=[handed_out(shown)])
        other = replace(shown, member="sample:s2")
        with pytest.raises(Refused, match="NotCommitted"):
            verify_disclosed(files, expected(), members=[handed_out(other)])
    for name in ("sample:s2", "subject:s0", "s0", ""):
        with pytest.raises(NotFound) as missing:
            member(tenant, deleted, name)
        assert missing.value.code == "not-named"


def test_a_subject_is_shown(tenant: str, dataset: str) -> None:
    request = make.delete(tenant, dataset, subject_ids=("s-person0",))
    make.work_off()
    certify()
    for name in ("subject:s-person0", "sample:s0", "sample:s1"):
        verify_disclosed(
            files_of(request), expected(), members=[handed_out(member(tenant, request, name))]
        )


def test_the_detail_is_the_one_that_was_logged(deleted: str, tenant: str, dataset: str) -> None:
    shown = detail(tenant, deleted)
    verify_disclosed(files_of(deleted), expected(), details=[handed_out(shown)])
    document = json.loads(shown.detail)
    assert (document["sample_ids"], document["reference"]) == (["s0", "s1", "nobody"], "case 7")
    assert (document["request_id"], document["dataset_id"]) == (deleted, dataset)
    altered = replace(shown, detail=shown.detail.replace('"s1"', '"s2"'))
    with pytest.raises(Refused, match="NotCommitted"):
        verify_disclosed(files_of(deleted), expected(), details=[handed_out(altered)])


def test_the_detail_of_a_correction_tells_null_from_nothing(tenant: str, dataset: str) -> None:
    request = make.correct(
        tenant,
        dataset,
        Correction("s0", label=2, features={"age": None}),
        Correction("s1", label=UNSET, features={"x": [0.5, -0.5]}),
    )
    shown = json.loads(detail(tenant, request).detail)
    assert shown["corrections"] == [
        {"sample_id": "s0", "label": 2, "features": {"age": None}},
        {"sample_id": "s1", "features": {"x": [0.5, -0.5]}},
    ]


def test_disclosures_are_logged_without_saying_whom_they_concern(deleted: str, tenant: str) -> None:
    member(tenant, deleted, "sample:s1")
    detail(tenant, deleted)
    with reading() as tx:
        query = select(AuditEntry).where(AuditEntry.type.like("%.disclosed"))
        entries = list(tx.scalars(query.order_by(AuditEntry.id)))
    assert [entry.type for entry in entries] == ["member.disclosed", "detail.disclosed"]
    assert {(entry.request_id, str(entry.facts)) for entry in entries} == {(deleted, "{}")}


def test_every_request_commits_under_keys_of_its_own(tenant: str, dataset: str) -> None:
    """Keys that came twice, or that anybody can write down, would hide nothing."""
    requests = [make.delete(tenant, dataset, "nobody") for _ in range(2)]
    with reading() as tx:
        kept = [tx.get_one(RequestCommitment, request) for request in requests]
        assert len({record.root for record in kept}) == 2
        assert len({record.wrapped_key for record in kept}) == 2
    own = {member(tenant, request, "sample:nobody").membership.key for request in requests}
    own |= {detail(tenant, request).key for request in requests}
    assert len(own) == 4
    assert all(len(set(bytes.fromhex(key))) > 8 for key in own)


def test_nothing_is_left_of_what_is_shredded(deleted: str, tenant: str) -> None:
    shred(tenant, deleted)
    with reading() as tx:
        record = tx.get_one(RequestCommitment, deleted)
        assert (record.wrapped_key, record.detail, record.members) == (None, None, None)
        assert record.shredded_at is not None
        for rows in tx.scalars(select(RequestRows).where(RequestRows.request_id == deleted)):
            assert (rows.rows, rows.corrections) == (None, None)


def test_what_is_shredded_is_shown_to_nobody_and_the_evidence_still_holds(
    deleted: str, tenant: str
) -> None:
    before = files_of(deleted)
    shown, opened = member(tenant, deleted, "sample:s1"), detail(tenant, deleted)
    shred(tenant, deleted)
    for look in (
        lambda: member(tenant, deleted, "sample:s1"),
        lambda: member(tenant, deleted, "sample:s2"),
        lambda: detail(tenant, deleted),
    ):
        with pytest.raises(Gone) as gone:
            look()
        assert gone.value.code == "shredded"
    with pytest.raises(Conflict) as again:
        shred(tenant, deleted)
    assert again.value.code == "already-shredded"
    certify()
    for files in (before, files_of(deleted)):
        verify_evidence(files, expected())
        # What was handed out before still shows what it showed.
        verify_disclosed(
            files, expected(), members=[handed_out(shown)], details=[handed_out(opened)]
        )


def test_a_request_that_has_not_ended_keeps_what_it_needs(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    with pytest.raises(Conflict):
        shred(tenant, request)
    with pytest.raises(StaleVersion), writing() as tx:
        shredding.shred(tx, make.ACTOR, tenant, request, '"other"')
    with pytest.raises(NotFound):
        shred(make.make_tenant(), request)
    member(tenant, request, "sample:s0")


def test_a_new_epoch_carries_on_what_is_needed_and_leaves_the_rest_unreadable(
    deleted: str, tenant: str, dataset: str
) -> None:
    is_open = make.delete(tenant, dataset, "s2", "s3")
    with reading() as tx:
        old = tx.get_one(RequestCommitment, deleted)
        box, epoch = old.wrapped_key, old.key_epoch
        detail_box = tx.scalar(
            select(RequestCommitment.detail).where(RequestCommitment.request_id == deleted)
        )
    assert epoch == 1
    shred(tenant, deleted)
    with reading() as tx:
        assert shredding.unfinished(tx) == [tenant]
    finish(tenant)
    with reading() as tx:
        assert shredding.unfinished(tx) == []
    assert epochs(tenant) == {1: "destroyed", 2: "current"}
    assert key_files() == {"2.key"}

    # A copy of the old row, as in a backup, opens nothing any more, with the master key at hand.
    with writing() as tx:
        tx.execute(
            update(RequestCommitment)
            .where(RequestCommitment.request_id == deleted)
            .values(wrapped_key=box, key_epoch=1, detail=detail_box)
        )
    for wrong, error in ((1, KeyDestroyed), (2, BoxDamaged)):
        with writing() as tx:
            tx.execute(
                update(RequestCommitment)
                .where(RequestCommitment.request_id == deleted)
                .values(key_epoch=wrong)
            )
        with pytest.raises(error):
            detail(tenant, deleted)

    # The open request goes on under the new epoch.
    member(tenant, is_open, "sample:s3")
    with reading() as tx:
        assert rows_of(tx.get_one(RequestRows, (is_open, dataset, 1))).tolist() == [2, 3]
    make.work_off()
    assert make.state(Request, is_open) == "fulfilled"


def test_many_requests_that_are_shredded_at_once_retire_one_key(tenant: str, dataset: str) -> None:
    requests = [make.delete(tenant, dataset, f"nobody-{number}") for number in range(4)]
    for request in requests:
        shred(tenant, request)
    assert epochs(tenant) == {1: "retired", 2: "current"}
    shred(tenant, make.delete(tenant, dataset, "nobody"))
    assert epochs(tenant) == {1: "retired", 2: "retired", 3: "current"}
    finish(tenant)
    assert epochs(tenant) == {1: "destroyed", 2: "destroyed", 3: "current"}
    assert key_files() == {"3.key"}


def test_keys_are_wrapped_anew_in_small_steps(tenant: str, dataset: str) -> None:
    requests = [make.delete(tenant, dataset, f"s{number}") for number in range(5)]
    with writing() as tx:
        shredding.rotate(tx, make.ACTOR, tenant)
    steps: list[int] = []
    while not steps or steps[-1] == 2:
        with writing() as tx:
            # In the middle of it nothing that is needed is destroyed.
            assert shredding.destroy_retired(tx, tenant) == 0
            steps.append(shredding.wrap_anew(tx, tenant, 2))
        for request in requests:
            detail(tenant, request)
    assert steps == [2, 2, 1]
    newer = make.delete(tenant, dataset, "s9")
    with writing() as tx:
        assert shredding.destroy_retired(tx, tenant) == 1
    for request in (*requests, newer):
        detail(tenant, request)


def test_after_a_crash_at_any_point_the_next_one_goes_on(deleted: str, tenant: str) -> None:
    crash_after(lambda tx: shredding.rotate(tx, make.ACTOR, tenant))
    assert (epochs(tenant), key_files()) == ({1: "current"}, {"1.key", "2.key"})
    with writing() as tx:
        shredding.rotate(tx, make.ACTOR, tenant)
    for step in (shredding.wrap_anew, shredding.destroy_retired):
        crash_after(partial(step, tenant_id=tenant))
        detail(tenant, deleted)
        with writing() as tx:
            assert step(tx, tenant) == 1
    assert (epochs(tenant), key_files()) == ({1: "destroyed", 2: "current"}, {"2.key"})
    detail(tenant, deleted)


def test_a_database_restored_without_its_keys_takes_new_requests(
    deleted: str, tenant: str, dataset: str
) -> None:
    # As if the key had been rotated and destroyed after the backup was made.
    tenant_keys.make(tenant, 2)
    tenant_keys.destroy(tenant, 1)
    with pytest.raises(KeyDestroyed):
        detail(tenant, deleted)
    request = make.delete(tenant, dataset, "s7")
    assert epochs(tenant) == {1: "retired", 2: "current"}
    with writing() as tx:
        assert shredding.wrap_anew(tx, tenant) == 0
    with writing() as tx:
        assert shredding.destroy_retired(tx, tenant) == 0
    assert epochs(tenant) == {1: "lost", 2: "current"}
    detail(tenant, request)
    make.work_off()
    assert make.state(Request, request) == "fulfilled"


def test_requests_that_nobody_can_open_stand_in_nobodys_way(
    tenant: str, dataset: str, version: str, model: str
) -> None:
    lost = [make.delete(tenant, dataset, "s2"), make.correct(tenant, dataset, BETTER)]
    tenant_keys.destroy(tenant, 1)
    [job] = make.jobs_of(lost[0])
    fence = make.claim(job)
    with pytest.raises(KeyDestroyed), reading() as tx:
        view(tx, tx.get_one(Job, job))
    with writing() as tx:
        running.release(tx, job, fence, failure("unexpected"))

    corrected = make.correct(tenant, dataset, Correction("s4", label=1))
    deleted = make.delete(tenant, dataset, "s3")
    detail(tenant, corrected)
    detail(tenant, deleted)
    make.register(tenant, model, dataset)


def test_a_request_that_nobody_can_open_can_be_cancelled_and_filed_again(
    tenant: str, dataset: str, version: str
) -> None:
    lost = make.delete(tenant, dataset, "s2")
    tenant_keys.destroy(tenant, 1)
    assert make.cancel(tenant, lost) == "cancelled"
    again = make.delete(tenant, dataset, "s2")
    make.work_off()
    assert make.state(Request, again) == "fulfilled"


def test_tenants_have_keys_of_their_own(deleted: str, tenant: str) -> None:
    other = make.make_tenant()
    request = make.delete(other, make.make_dataset(other), "s0")
    with writing() as tx:
        shredding.rotate(tx, make.ACTOR, tenant)
    finish(tenant)
    assert (epochs(tenant)[2], epochs(other)) == ("current", {1: "current"})
    detail(other, request)
    keys = {tenant_keys.read(tenant, 2), tenant_keys.read(other, 1)}
    assert len(keys) == 2


def test_what_is_over_long_enough_is_due(
    deleted: str, tenant: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make.delete(tenant, dataset, "s5")
    with reading() as tx:
        assert shredding.due(tx) == []
        monkeypatch.setattr(settings(), "detail_days", 0.0)
        assert shredding.due(tx) == [(tenant, deleted)]
    shred(tenant, deleted)
    with reading() as tx:
        assert shredding.due(tx) == []


def test_the_key_of_a_tenant_from_before_there_were_keys_is_made_when_needed(
    tenant: str, dataset: str
) -> None:
    with writing() as tx:
        tx.execute(text("DELETE FROM tenant_keys"))
    tenant_keys.destroy(tenant, 1)
    request = make.delete(tenant, dataset, "s0")
    assert epochs(tenant) == {1: "current"}
    detail(tenant, request)


def test_the_record_opens_only_in_its_place(deleted: str, tenant: str, dataset: str) -> None:
    other = make.delete(tenant, dataset, "s4")
    with writing() as tx:
        mine, theirs = (tx.get_one(RequestCommitment, id) for id in (deleted, other))
        theirs.detail, theirs.members = mine.detail, mine.members
    for look in (
        lambda tx: commitments.disclosed_detail(tx, other),
        lambda tx: commitments.disclosed_member(tx, other, "sample:s0"),
    ):
        with pytest.raises(BoxDamaged), reading() as tx:
            look(tx)


def test_the_home_holds_no_key_in_the_clear(deleted: str, tenant: str, home: Path) -> None:
    key = tenant_keys.read(tenant, 1)
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert key not in content
            assert key.hex().encode() not in content
    path = settings().tenant_keys_folder / f"{tenant}.1.key"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
