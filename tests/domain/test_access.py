"""Keys are recognised, end, and belong to one tenant."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.domain.access import ApiKey, Tenant
from app.domain.actions import access, bootstrap, idempotency
from app.domain.catalog import Dataset
from app.domain.errors import NotFound, Refused, Unauthenticated
from app.domain.queries import catalog
from app.domain.requests import IdempotencyRecord
from app.infra import clock
from app.infra.db import writing
from tests import builders as make
from tests.domain.conftest import forget_settings


def test_a_key_is_recognised_until_it_is_revoked_or_expires(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    with writing() as tx:
        key, secret = access.create_api_key(
            tx, make.ACTOR, tenant, name="k", scopes=["models:read"]
        )
        found = access.authenticate(tx, secret)
        assert found.id == key.id
        assert found.allows("models:read")
        assert not found.allows("models:write")
        _, brief = access.create_api_key(
            tx, make.ACTOR, tenant, name="b", scopes=["admin"], expires_at=clock.now()
        )
        for wrong in (brief, secret + "x", "", "\ud800"):
            with pytest.raises(Unauthenticated):
                access.authenticate(tx, wrong)
        access.revoke_api_key(tx, make.ACTOR, tenant, key.id)
        with pytest.raises(Unauthenticated):
            access.authenticate(tx, secret)


def test_a_secret_is_nowhere_in_the_database(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    with writing() as tx:
        _, secret = access.create_api_key(tx, make.ACTOR, tenant, name="k", scopes=["admin"])
    for file in sqlite_home.glob("lethe.db*"):
        assert secret.encode() not in file.read_bytes()


def test_an_unknown_scope_is_named(sqlite_home: Path) -> None:
    tenant = make.make_tenant()
    with pytest.raises(Refused) as refused, writing() as tx:
        access.create_api_key(tx, make.ACTOR, tenant, name="k", scopes=["admin", "fly"])
    assert [error.pointer for error in refused.value.errors] == ["/scopes/1"]


def test_the_bootstrap_key_is_accepted_at_the_first_start_only(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in ("the first one", "another one"):
        monkeypatch.setenv("LETHE_BOOTSTRAP_KEY", secret)
        forget_settings()
        with writing() as tx:
            bootstrap.ensure_bootstrap(tx)
    with writing() as tx:
        assert [tenant.name for tenant in tx.scalars(select(Tenant))] == ["default"]
        assert len(tx.scalars(select(ApiKey)).all()) == 1
        assert access.authenticate(tx, "the first one").is_bootstrap
        with pytest.raises(Unauthenticated):
            access.authenticate(tx, "another one")


def test_another_tenant_s_things_do_not_exist(tenant: str, dataset: str) -> None:
    stranger = make.make_tenant("stranger")
    with pytest.raises(NotFound), writing() as tx:
        catalog.load(tx, Dataset, stranger, dataset)
    with pytest.raises(NotFound):
        make.delete(stranger, dataset, "s0")
    with pytest.raises(NotFound):
        make.register(stranger, make.make_model(stranger), dataset)
    for odd in ("", "ds_\0", "x" * 100, "ds_\ud800"):
        with pytest.raises(NotFound), writing() as tx:
            catalog.load(tx, Dataset, tenant, odd)


def test_a_stored_answer_is_sealed_and_comes_back(home: Path) -> None:
    tenant = make.make_tenant()
    body = b'{"sample_ids": ["jane"]}'
    with writing() as tx:
        fingerprint = idempotency.fingerprint_of(tenant, body)
        idempotency.remember(
            tx,
            tenant,
            "key_1",
            "POST /x",
            "k1",
            fingerprint=fingerprint,
            status=202,
            headers={"Location": "/v1/x"},
            body=body,
        )
    with writing() as tx:
        record = idempotency.recall(tx, tenant, "key_1", "POST /x", "k1")
        assert record is not None
        assert idempotency.body_of(record) == body
        assert record.fingerprint == fingerprint
        assert b"jane" not in record.body
        assert idempotency.recall(tx, tenant, "key_2", "POST /x", "k1") is None
        assert idempotency.recall(tx, tenant, "key_1", "POST /x", "k2") is None
    from app.domain.actions import upkeep

    with writing() as tx:
        assert upkeep.expire_idempotency(tx) == 0
        tx.scalars(select(IdempotencyRecord)).one().created_at -= timedelta(days=31)
    with writing() as tx:
        assert upkeep.expire_idempotency(tx) == 1
