"""Later certificates: everything is destroyed now, or an earlier one is taken back."""

import pytest

from app.domain.actions import certifying, revoking, versions
from app.domain.errors import Conflict, NotFound, Refused, StaleVersion
from app.domain.requests import Request
from app.infra.db import reading, writing
from app.ledger.verify import Refused as EvidenceRefused
from app.ledger.verify import verify_evidence
from tests import builders as make
from tests.certified import certificate_of, certify, expected, files_of


def revoke(tenant: str, request: str, reason: str = "measured-wrongly") -> None:
    with writing() as tx:
        revoking.revoke_certificate(tx, make.ACTOR, tenant, request, reason)


def require_revoked(request: str) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        verify_evidence(files_of(request), expected())
    assert refused.value.name == "Revoked"


@pytest.fixture
def waiting(tenant: str, model: str, dataset: str, version: str) -> str:
    """A request that ended while the version's owner had withdrawn it, its bytes still there."""
    request = make.delete(tenant, dataset, "s0")
    with writing() as tx:
        versions.withdraw_version(tx, make.ACTOR, tenant, model, version)
    make.withdraw(request)
    assert certify() == [request]
    return request


@pytest.fixture
def deleted(tenant: str, dataset: str, version: str) -> str:
    request = make.delete(tenant, dataset, "s0")
    make.work_off()
    certify()
    return request


def test_what_was_still_to_be_destroyed_gets_its_later_certificate(waiting: str) -> None:
    [target] = certificate_of(waiting).targets
    assert (target.parent.withdrawal, target.parent.withdrawn_at) == ("pending", None)
    make.work_off()
    assert certify() == [waiting]
    verify_evidence(files_of(waiting), expected())
    first, later = certificate_of(waiting), certificate_of(waiting, 1)
    assert (first.kind, later.kind) == ("completed", "withdrawal_completed")
    assert first.targets[0].parent.withdrawal == "pending"
    assert later.targets[0].parent.withdrawal == "withdrawn"
    assert later.follows is not None
    assert later.follows.reason is None
    assert "withdrawal.completed" in [item.type for item in later.log.entries]
    assert certify() == []


def test_where_everything_was_destroyed_no_later_certificate_is_issued(
    tenant: str, model: str, dataset: str, version: str
) -> None:
    request = make.delete(tenant, dataset, "s0")
    with writing() as tx:
        versions.withdraw_version(tx, make.ACTOR, tenant, model, version)
    make.work_off()
    assert certify() == [request]
    assert certificate_of(request).targets[0].parent.withdrawal == "withdrawn"
    assert not [name for name in files_of(request) if name.startswith("followups/")]


def test_a_revoked_certificate_is_refused_by_name(deleted: str, tenant: str) -> None:
    revoke(tenant, deleted)
    assert certify() == [deleted]
    require_revoked(deleted)
    later = certificate_of(deleted, 1)
    assert later.kind == "revoked"
    assert later.follows is not None
    assert later.follows.reason == "measured-wrongly"
    assert later.targets == certificate_of(deleted).targets


def test_the_last_certificate_is_the_one_that_is_taken_back(waiting: str, tenant: str) -> None:
    make.work_off()
    certify()
    revoke(tenant, waiting, "restored-from-backup")
    certify()
    assert [certificate_of(waiting, number).kind for number in range(3)] == [
        "completed",
        "withdrawal_completed",
        "revoked",
    ]
    require_revoked(waiting)


def test_nothing_follows_a_revocation(waiting: str, tenant: str) -> None:
    revoke(tenant, waiting)
    certify()
    make.work_off()
    certify()
    assert certificate_of(waiting, 1).kind == "revoked"
    assert "followups/2/certificate.dsse.json" not in files_of(waiting)
    with reading() as tx:
        assert certifying.due(tx) == []


def test_both_at_once_are_issued_one_after_the_other(waiting: str, tenant: str) -> None:
    revoke(tenant, waiting)
    make.work_off()
    assert certify() == [waiting, waiting]
    require_revoked(waiting)


def test_what_cannot_be_taken_back_is_refused(deleted: str, tenant: str, dataset: str) -> None:
    with pytest.raises(Refused):
        revoke(tenant, deleted, "because I say so")
    with pytest.raises(NotFound) as missing:
        revoke(tenant, make.delete(tenant, dataset, "s9"))
    assert missing.value.code == "certificate-not-issued"
    with pytest.raises(NotFound):
        revoke(make.make_tenant(), deleted)
    with pytest.raises(StaleVersion), writing() as tx:
        revoking.revoke_certificate(tx, make.ACTOR, tenant, deleted, "measured-wrongly", '"other"')
    revoke(tenant, deleted)
    with pytest.raises(Conflict) as again:
        revoke(tenant, deleted)
    assert again.value.code == "certificate-revoked"
    assert make.state(Request, deleted) == "fulfilled"
