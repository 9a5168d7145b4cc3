"""``lethe keys``: the keys of tenants are renewed."""

from sqlalchemy import select

from app.domain.access import Tenant
from app.domain.actions import shredding
from app.domain.audit import SYSTEM
from app.infra import db
from workers.shredding import finish


def rotate(tenant_id: str | None) -> int:
    """Begin a new epoch for a tenant, or for all, and destroy the keys of the old ones.

    Returns:
        0, or 1 if there is no such tenant.
    """
    with db.reading() as tx:
        found = list(tx.scalars(select(Tenant.id).order_by(Tenant.id)))
    wanted = [id for id in found if tenant_id in {None, id}]
    for id in wanted:
        with db.writing() as tx:
            epoch = shredding.rotate(tx, SYSTEM, id).epoch
        finish(id)
        print(f"{id}: epoch {epoch}")
    if not wanted:
        print("there is no such tenant")
    return 0 if wanted else 1
