"""The first start: a tenant, and the operator's key if one is configured."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import audit
from app.domain.access import ApiKey, Tenant
from app.domain.actions import access
from app.infra.settings import settings

DEFAULT_TENANT = "default"


def ensure_bootstrap(tx: Session) -> None:
    """Make the default tenant and accept ``LETHE_BOOTSTRAP_KEY``, once.

    The key is accepted at the first start only: once there is a bootstrap key, revoked or
    not, another value is ignored.
    """
    tenant = tx.scalar(select(Tenant).order_by(Tenant.id).limit(1))
    if tenant is None:
        tenant = access.create_tenant(tx, audit.SYSTEM, DEFAULT_TENANT)
    secret = settings().bootstrap_key
    if secret is None or tx.scalar(select(ApiKey.id).where(ApiKey.is_bootstrap).limit(1)):
        return
    access.store_bootstrap_key(tx, audit.SYSTEM, tenant.id, secret.get_secret_value())
