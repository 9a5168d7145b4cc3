"""Certificates: built from the log, signed, logged, and verified offline with their evidence."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.domain.actions import certifying, versions
from app.domain.errors import Conflict, NotFound
from app.domain.log import CertificateDue, IssuedCertificate, RequestCommitment
from app.domain.orders import Correction
from app.domain.queries import evidence, log
from app.domain.requests import Request
from app.infra.db import reading, writing
from app.ledger import verify
from app.ledger.verify import Expectations, Refused, pack, unpack, verify_evidence
from tests import builders as make
from tests.certified import certificate_of, certify, expected, files_of
from tests.sealed import append, seal


@pytest.fixture
def deleted(tenant: str, dataset: str, version: str) -> str:
    request = make.delete(tenant, dataset, "s0", "s1", "nobody", regulation="gdpr")
    make.work_off()
    assert certify() == [request]
    return request


def test_the_evidence_about_a_deletion_verifies_offline(deleted: str) -> None:
    files = files_of(deleted)
    verify_evidence(files, expected())
    verify_evidence(unpack(pack(files)), expected())
    with pytest.raises(Refused, match="UnknownKey"):
        verify_evidence(files, Expectations(keys=()))


def test_the_certificate_states_what_was_done(deleted: str, version: str) -> None:
    certificate = certificate_of(deleted)
    assert (certificate.request.kind, certificate.request.regulation) == ("deletion", "gdpr")
    assert certificate.request.counts == {"samples": 2, "unknown": 1, "already_deleted": 0}
    [target] = certificate.targets
    assert (target.parent.version_id, target.parent.withdrawal) == (version, "withdrawn")
    assert target.parent.sha256 == "01" * 32
    assert target.result is not None
    assert target.result.sha256 == "02" * 32
    assert certificate.subject()[0].digest.sha256 == "02" * 32
    assert target.run is not None
    assert (target.run.method, target.run.verdict) == ("sparse_newton", "passed")
    assert [gate.limit for gate in target.run.gates] == ["0.02"]
    assert target.run.selection is not None
    assert (target.run.selection.changed, target.run.selection.total) == (3, 9)
    assert certificate.rows is not None
    assert (certificate.rows.action, certificate.rows.rows) == ("erased", 2)


def test_a_changed_report_is_not_the_certified_one(deleted: str) -> None:
    files = files_of(deleted)
    [name] = [name for name in files if name.startswith("reports/")]
    with pytest.raises(Refused, match="OtherFile"):
        verify_evidence({**files, name: files[name].replace(b"0.5", b"0.6")}, expected())


def test_the_evidence_continues_an_older_checkpoint(deleted: str) -> None:
    with reading() as tx:
        pinned = log.checkpoint(tx)
    append(5)
    seal()
    files = files_of(deleted)
    assert f"consistency/{pinned.size}.json" in files
    verify_evidence(files, replace(expected(), pinned=pinned.note))


def test_evidence_of_a_correction_verifies(tenant: str, dataset: str, version: str) -> None:
    request = make.correct(tenant, dataset, Correction("s0", label=2), regulation="gdpr")
    make.work_off()
    certify()
    verify_evidence(files_of(request), expected())
    certificate = certificate_of(request)
    assert certificate.request.kind == "correction"
    assert certificate.rows is not None
    assert certificate.rows.action == "overwritten"


def test_rows_no_version_learned_from_are_certified_too(tenant: str, dataset: str) -> None:
    request = make.delete(tenant, dataset, "s19")
    make.work_off()
    certify()
    verify_evidence(files_of(request), expected())
    certificate = certificate_of(request)
    assert certificate.targets == ()
    assert certificate.subject()[0].name == f"commitment/{request}"


def test_a_request_that_names_nothing_known_is_certified(tenant: str, dataset: str) -> None:
    request = make.delete(tenant, dataset, "nobody")
    certify()
    verify_evidence(files_of(request), expected())
    assert certificate_of(request).rows is None


def test_two_requests_served_by_one_job_have_a_certificate_each(
    tenant: str, dataset: str, version: str
) -> None:
    requests = [make.delete(tenant, dataset, name) for name in ("s0", "s1")]
    make.work_off()
    assert sorted(certify()) == sorted(requests)
    for request in requests:
        verify_evidence(files_of(request), expected())


def test_a_request_that_comes_during_the_work_follows_the_lineage(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(first)
    fence = make.claim(job)
    second = make.delete(tenant, dataset, "s1")
    make.publish(job, fence)
    make.work_off()
    assert sorted(certify()) == sorted([first, second])
    for request in (first, second):
        verify_evidence(files_of(request), expected())
        assert [target.parent.version_id for target in certificate_of(request).targets] == [version]


def test_a_version_its_owner_withdrew_is_named_as_such(
    tenant: str, model: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    with writing() as tx:
        versions.withdraw_version(tx, make.ACTOR, tenant, model, version)
    make.work_off()
    assert certify() == [request]
    verify_evidence(files_of(request), expected())
    [target] = certificate_of(request).targets
    assert (target.result, target.reason) == (None, "withdrawn")


def test_the_run_that_was_published_is_certified_not_the_one_that_failed(
    tenant: str, model: str, dataset: str
) -> None:
    make.make_version(tenant, model, dataset, recipe={**make.RECIPE, "seed": 7})
    request = make.delete(tenant, dataset, "s0")
    [failed] = make.jobs_of(request)
    make.reject(failed)
    [retraining] = make.jobs_of(request)
    make.work_off()
    assert certify() == [request]
    verify_evidence(files_of(request), expected())
    [target] = certificate_of(request).targets
    assert target.run is not None
    assert target.run.job_id == retraining


def test_requests_on_the_same_rows_are_all_certified(
    tenant: str, dataset: str, version: str
) -> None:
    first = make.delete(tenant, dataset, "s0")
    [job] = make.jobs_of(first)
    fence = make.claim(job)
    second = make.delete(tenant, dataset, "s0")
    make.publish(job, fence)
    make.work_off()
    assert sorted(certify()) == sorted([first, second])
    for request in (first, second):
        verify_evidence(files_of(request), expected())


def test_every_model_that_learned_from_the_rows_is_named(
    tenant: str, dataset: str, version: str
) -> None:
    other = make.make_version(tenant, make.make_model(tenant), dataset)
    request = make.delete(tenant, dataset, "s0", "s1")
    make.work_off()
    certify()
    verify_evidence(files_of(request), expected())
    parents = {target.parent.version_id for target in certificate_of(request).targets}
    assert parents == {version, other}


def test_before_it_is_logged_there_is_no_certificate(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    for _ in range(2):
        with pytest.raises(NotFound) as missing:
            files_of(request)
        assert missing.value.code == "certificate-not-issued"
        make.work_off()
    with reading() as tx:
        assert evidence.certified(tx, [request]) == set()
    certify()
    with reading() as tx:
        assert evidence.certified(tx, [request, "req_other"]) == {request}


def test_a_certificate_is_issued_once_and_never_changed(deleted: str) -> None:
    assert certify() == []
    with writing() as tx:
        assert certifying.issue(tx, deleted) is None
    with pytest.raises(DBAPIError), writing() as tx:
        tx.execute(text("UPDATE certificates SET envelope = sha256"))
    with reading() as tx:
        assert len(tx.scalars(select(IssuedCertificate)).all()) == 1


def test_what_the_log_does_not_say_is_not_certified(
    tenant: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    make.work_off()
    with writing() as tx:
        tx.delete(tx.get_one(RequestCommitment, request))
    certify()
    with reading() as tx:
        assert tx.get_one(CertificateDue, (request, "completed")).failure == "UnloggedFact"
        assert certifying.due(tx) == []


def test_more_evidence_than_a_verifier_takes_is_refused(
    deleted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading() as tx:
        found = tx.get_one(Request, deleted)
        count = len(evidence.files(tx, found))
        monkeypatch.setattr(verify, "MOST_FILES", count)
        assert verify.unpack(evidence.archive(tx, found))
        monkeypatch.setattr(verify, "MOST_FILES", count - 1)
        with pytest.raises(Conflict) as refused:
            evidence.archive(tx, found)
    assert refused.value.code == "evidence-too-large"
