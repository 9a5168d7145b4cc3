"""Epochs of a tenant's key, and the data keys that it wraps.

Each request has a data key of its own; the tenant's key wraps them; the master key wraps that.
Destroying a data key in the database leaves copies of its box behind, in free pages, logs and
backups. They become noise when the tenant's key moves on to another epoch and the file of the
one before, which never was in the database, is destroyed.
"""

import secrets
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session

from app.domain.audit import SYSTEM, Actor
from app.domain.base import Entity, Moves, begin, move, moves
from app.domain.log import RequestCommitment
from app.infra import keys, tenant_keys
from app.infra.ids import new_id
from app.infra.tenant_keys import KEY_BYTES


class TenantKey(Entity):
    """One epoch of a tenant's key.

    States: ``current`` (wraps new data keys), ``retired`` (its data keys are wrapped anew, one
    after the other), ``destroyed``, and ``lost`` where an old database was restored without it.
    """

    __tablename__ = "tenant_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "epoch"),)
    KIND: ClassVar[str] = "tenant_key"
    MOVES: ClassVar[Moves] = moves(current="retired", retired="destroyed lost")

    epoch: Mapped[int]


@dataclass(frozen=True)
class DataKey:
    """A fresh data key.

    Attributes:
        key: 32 random bytes.
        epoch: Of the tenant's key that wraps it.
        wrapped: The box that is kept.
    """

    key: bytes
    epoch: int
    wrapped: bytes


def current(tx: Session, tenant_id: str, actor: Actor = SYSTEM) -> TenantKey:
    """Return the current epoch; the first one begins here, and one whose key is gone ends.

    Args:
        tx: The transaction, past the tenant's gate.
        tenant_id: Whose key.
        actor: Who makes it, if it has to be made.
    """
    found = tx.scalar(
        select(TenantKey).where(TenantKey.tenant_id == tenant_id, TenantKey.state == "current")
    )
    if found is None:
        return begin_epoch(tx, tenant_id, 1, actor)
    if not tenant_keys.is_there(tenant_id, found.epoch):
        return next_epoch(tx, found, actor)
    return found


def next_epoch(tx: Session, key: TenantKey, actor: Actor) -> TenantKey:
    """Retire the current epoch and begin the next."""
    move(tx, key, "retired", actor, epoch=key.epoch)
    return begin_epoch(tx, key.tenant_id, key.epoch + 1, actor)


def begin_epoch(tx: Session, tenant_id: str, epoch: int, actor: Actor) -> TenantKey:
    """Make the key of an epoch; the file first, so that no row is without it."""
    tenant_keys.make(tenant_id, epoch)
    key = TenantKey(id=new_id("tkey"), tenant_id=tenant_id, state="current", epoch=epoch)
    begin(tx, key, actor, epoch=epoch)
    return key


def new_data_key(tx: Session, tenant_id: str, context: str) -> DataKey:
    """Make a data key.

    Args:
        tx: The transaction, past the tenant's gate.
        tenant_id: Whose key wraps it.
        context: What it is for; needed again to unwrap it.
    """
    epoch = current(tx, tenant_id).epoch
    key = secrets.token_bytes(KEY_BYTES)
    return DataKey(key, epoch, wrap(tenant_id, epoch, key, context))


def wrap(tenant_id: str, epoch: int, key: bytes, context: str) -> bytes:
    """Wrap a data key under the tenant's key of an epoch.

    Raises:
        KeyDestroyed: That key is not there.
    """
    return keys.seal_box(tenant_keys.read(tenant_id, epoch), key, context)


def is_lost(record: RequestCommitment) -> bool:
    """Tell whether a request's data key is there, but not the tenant's key that wraps it."""
    epoch = record.key_epoch
    if record.wrapped_key is None or epoch is None:
        return False
    return not tenant_keys.is_there(record.tenant_id, epoch)


def data_key_of(record: RequestCommitment) -> bytes | None:
    """Return a request's data key; None once it is destroyed, or where there never was one.

    Raises:
        KeyDestroyed: The tenant's key that wraps it is gone, as after an old database was restored.
    """
    if record.wrapped_key is None or record.key_epoch is None:
        return None
    wrapping = tenant_keys.read(record.tenant_id, record.key_epoch)
    return keys.open_box(wrapping, record.wrapped_key, record.request_id)
