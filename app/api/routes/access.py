"""Tenants and API keys: for keys with the scope ``admin``."""

from fastapi import APIRouter, Response

from app.api.answers import created, gone, listed, tagged
from app.api.dependencies import Admin, Client, IfMatch, Look, Once, Paging, Tx
from app.api.errors import problems
from app.api.routing import ApiRoute
from app.api.schemas.access import ApiKeyIn, ApiKeyMade, ApiKeyOut, TenantIn, TenantOut
from app.api.schemas.base import Listing
from app.domain.access import ApiKey, Tenant
from app.domain.actions import access
from app.domain.errors import Conflict, Forbidden, NotFound, Refused
from app.domain.queries import access as access_queries
from app.domain.queries import catalog as catalog_queries

router = APIRouter(prefix="/v1", tags=["Access"], route_class=ApiRoute)


@router.post(
    "/tenants", status_code=201, response_model=TenantOut, responses=problems(Conflict, Refused)
)
def create_tenant(body: TenantIn, caller: Admin, tx: Once) -> Response:
    """Add a tenant; only the bootstrap key may.

    Raises:
        Forbidden: It is another key.
    """
    if not caller.is_bootstrap:
        raise Forbidden("only the bootstrap key may create tenants")
    tenant = access.create_tenant(tx, caller.actor, body.name)
    return created(tenant, TenantOut.of(tenant), "/v1/tenants")


@router.get("/tenants", response_model=Listing[TenantOut])
def list_tenants(caller: Admin, tx: Look, page: Paging) -> Response:
    """List the tenants: all of them for the bootstrap key, its own for another."""
    if not caller.is_bootstrap:
        own = tx.get(Tenant, caller.tenant_id)
        return listed(page, [TenantOut.of(own)] if own else [], None)
    part = access_queries.tenants(tx, page.order)
    return listed(page, [TenantOut.of(tenant) for tenant in part.items], part.next_cursor)


@router.post(
    "/api-keys",
    status_code=201,
    response_model=ApiKeyMade,
    responses=problems(Conflict, NotFound, Refused),
)
def create_api_key(body: ApiKeyIn, caller: Admin, tx: Once) -> Response:
    """Make a key; the answer is the only one that shows its secret."""
    key, secret = access.create_api_key(
        tx,
        caller.actor,
        _tenant_of(body, caller),
        name=body.name,
        scopes=body.scopes,
        expires_at=body.expires_at,
    )
    return created(key, ApiKeyMade.of(key, key=secret), f"/v1/api-keys/{key.id}")


@router.get("/api-keys", response_model=Listing[ApiKeyOut])
def list_api_keys(caller: Admin, tx: Look, page: Paging) -> Response:
    """List the tenant's keys, without their secrets."""
    part = access_queries.api_keys(tx, caller.tenant_id, page.order)
    return listed(page, [ApiKeyOut.of(key) for key in part.items], part.next_cursor)


@router.get("/api-keys/{api_key_id}", response_model=ApiKeyOut, responses=problems(NotFound))
def get_api_key(api_key_id: str, caller: Admin, tx: Look) -> Response:
    """Show a key, without its secret."""
    key = catalog_queries.load(tx, ApiKey, caller.tenant_id, api_key_id)
    return tagged(key, ApiKeyOut.of(key))


@router.delete("/api-keys/{api_key_id}", status_code=204, responses=problems(Conflict, NotFound))
def revoke_api_key(api_key_id: str, caller: Admin, tx: Tx, if_match: IfMatch) -> Response:
    """Revoke a key, at once."""
    access.revoke_api_key(tx, caller.actor, caller.tenant_id, api_key_id, if_match)
    return gone()


def _tenant_of(body: ApiKeyIn, caller: Client) -> str:
    """Return whose key it is to be; another tenant's only for the bootstrap key.

    Raises:
        NotFound: It is another tenant's.
    """
    wanted = body.tenant_id or caller.tenant_id
    if wanted != caller.tenant_id and not caller.is_bootstrap:
        raise NotFound
    return wanted
