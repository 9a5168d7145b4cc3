"""The gate of a tenant: structural changes pass one at a time.

Which versions a request reaches, which successor a job publishes and whether a new revision
is clean are questions about many rows at once. Every verb takes the gate first, so that none
of them is answered on a picture another transaction is changing, and no two verbs can wait
for each other. Heartbeats and progress do not pass the gate.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.access import Tenant

PASSED = "lethe.gates"


def enter(tx: Session, tenant_id: str) -> None:
    """Wait for the tenant's gate and keep it until the transaction ends.

    What the session has read before is read again on next use: it may have changed while we
    waited. SQLite has one writer at a time anyway; there only the second part acts.
    """
    passed: set[str] = tx.info.setdefault(PASSED, set())
    if tenant_id in passed:
        return
    tx.flush()
    # NO KEY UPDATE: inserting rows that refer to the tenant does not have to wait.
    tx.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    tx.expire_all()
    passed.add(tenant_id)
