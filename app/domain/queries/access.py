"""Reads of tenants and API keys."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.access import ApiKey, Tenant
from app.domain.queries.paging import PageOrder, Slice, fetch


def tenants(tx: Session, page: PageOrder) -> Slice[Tenant]:
    """List the tenants, newest first."""
    return fetch(tx, select(Tenant), Tenant.id, page)


def api_keys(tx: Session, tenant_id: str, page: PageOrder) -> Slice[ApiKey]:
    """List the API keys of a tenant, revoked ones too, newest first."""
    return fetch(tx, select(ApiKey).where(ApiKey.tenant_id == tenant_id), ApiKey.id, page)
