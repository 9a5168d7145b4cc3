"""Audit entries cannot be changed and name nobody."""

from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.domain.audit import AuditEntry
from app.infra.db import writing
from tests import builders as make


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'nobody'",
        "DELETE FROM audit_entries",
        "INSERT OR REPLACE INTO audit_entries SELECT * FROM audit_entries",
        "TRUNCATE audit_entries",
    ],
)
def test_the_database_refuses_to_change_entries(home: Path, statement: str) -> None:
    make.make_tenant()
    with pytest.raises(DBAPIError), writing() as tx:
        tx.execute(text(statement))
    with writing() as tx:
        assert [entry.type for entry in tx.scalars(select(AuditEntry))] == [
            "tenant.created",
            "tenant_key.created",
        ]


def test_entries_name_no_sample(tenant: str, dataset: str, version: str) -> None:
    request = make.delete(tenant, dataset, "s0", "secret-id", reference="case 7")
    make.publish(make.jobs_of(request)[0])
    make.withdraw(request)
    with writing() as tx:
        for entry in tx.scalars(select(AuditEntry)):
            written = f"{entry.facts} {entry.actor} {entry.type}"
            assert "secret-id" not in written
            assert "'s0'" not in written
            assert "case 7" not in written
