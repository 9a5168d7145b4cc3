"""Whether the service can do its work: its doors, tried one by one."""

from pathlib import Path
from secrets import token_hex

from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.api.uploads import store
from app.domain.access import ApiKey
from app.infra import db
from app.infra.storage import StorageError

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def checks() -> dict[str, str]:
    """Try every door; ``ok`` or what is wrong, in words without addresses."""
    return {"database": _database(), "object_store": _object_store()}


def is_operator(tx: Session, tenant_id: str) -> bool:
    """Tell whether a tenant runs the service: it holds the bootstrap key."""
    found = select(ApiKey.id).where(ApiKey.tenant_id == tenant_id, ApiKey.is_bootstrap.is_(True))
    return tx.scalar(found.limit(1)) is not None


def _database() -> str:
    from alembic.script import ScriptDirectory

    try:
        with db.reading() as tx:
            applied = set(tx.scalars(text("select version_num from alembic_version")))
    except SQLAlchemyError:
        return "does not answer, or has no schema"
    wanted = set(ScriptDirectory(str(MIGRATIONS)).get_heads())
    return "ok" if applied == wanted else "the schema is not the newest"


def _object_store() -> str:
    key = f"probes/{token_hex(8)}"
    try:
        store().put_stream(key, [b"probe"], limit=16)
        store().delete(key)
    except StorageError:
        return "cannot be written to"
    return "ok"
