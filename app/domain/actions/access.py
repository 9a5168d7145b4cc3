"""Tenants and API keys are made and revoked; a bearer's key is recognised."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain import gate, tenant_keys
from app.domain.access import SCOPES, ApiKey, Tenant
from app.domain.audit import Actor
from app.domain.base import begin, move
from app.domain.errors import FieldError, Unauthenticated
from app.domain.queries.catalog import load
from app.domain.texts import refuse_if, text_faults
from app.infra import clock, keys
from app.infra.ids import new_id

KEY_PREFIX = "lethe_"
MOST_NAME = 200


def digest_of(secret: str) -> bytes:
    """Return the keyed digest under which a key is kept."""
    return keys.keyed_digest(keys.derive("", "api-keys"), secret)


def authenticate(tx: Session, secret: str) -> ApiKey:
    """Recognise a bearer's key.

    Raises:
        Unauthenticated: No such key, or it is revoked or expired.
    """
    try:
        digest = digest_of(secret)
    except UnicodeEncodeError:
        raise Unauthenticated from None
    key = tx.scalar(select(ApiKey).where(ApiKey.digest == digest))
    if key is None or key.state != "active":
        raise Unauthenticated
    if key.expires_at is not None and key.expires_at <= clock.now():
        raise Unauthenticated
    return key


def create_tenant(tx: Session, actor: Actor, name: str) -> Tenant:
    """Make a tenant.

    Raises:
        Refused: The name cannot be one.
    """
    refuse_if(text_faults(name, "/name", most=MOST_NAME))
    id = new_id("ten")
    tenant = Tenant(id=id, tenant_id=id, state="active", name=name)
    begin(tx, tenant, actor)
    tenant_keys.begin_epoch(tx, id, 1, actor)
    return tenant


def create_api_key(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key.

    Args:
        tx: The transaction.
        actor: Who makes it.
        tenant_id: Whose key.
        name: For people to recognise it.
        scopes: What it allows.
        expires_at: When it ends; None: never.

    Returns:
        The key and its secret, which is not kept and cannot be shown again.

    Raises:
        NotFound: There is no such tenant.
        Refused: An unknown scope or an unusable name.
    """
    load(tx, Tenant, tenant_id, tenant_id)
    faults = text_faults(name, "/name", most=MOST_NAME)
    for position, scope in enumerate(scopes):
        if scope not in SCOPES:
            detail = f"takes one of {', '.join(SCOPES)}"
            faults.append(FieldError(f"/scopes/{position}", "unknown-scope", detail))
    if not scopes:
        faults.append(FieldError("/scopes", "empty", "names no scope"))
    refuse_if(faults)
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return _store(tx, actor, tenant_id, name, scopes, secret, expires_at=expires_at), secret


def store_bootstrap_key(tx: Session, actor: Actor, tenant_id: str, secret: str) -> ApiKey:
    """Accept a secret the operator chose as an admin key that may create tenants."""
    return _store(tx, actor, tenant_id, "bootstrap", ["admin"], secret, is_bootstrap=True)


def revoke_api_key(
    tx: Session, actor: Actor, tenant_id: str, key_id: str, if_match: str | None = None
) -> ApiKey:
    """End an API key for good.

    Raises:
        NotFound: The tenant has no such key.
        Conflict: It is revoked already.
        StaleVersion: It is not the one the caller has read.
    """
    key = load(tx, ApiKey, tenant_id, key_id, lock=True)
    key.require_etag(if_match)
    move(tx, key, "revoked", actor)
    return key


def _store(
    tx: Session,
    actor: Actor,
    tenant_id: str,
    name: str,
    scopes: Sequence[str],
    secret: str,
    *,
    expires_at: datetime | None = None,
    is_bootstrap: bool = False,
) -> ApiKey:
    gate.enter(tx, tenant_id)
    key = ApiKey(
        id=new_id("key"),
        tenant_id=tenant_id,
        state="active",
        name=name,
        digest=digest_of(secret),
        scopes=list(dict.fromkeys(scopes)),
        is_bootstrap=is_bootstrap,
        expires_at=expires_at,
    )
    begin(tx, key, actor)
    return key
