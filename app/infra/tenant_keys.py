"""Keys of tenants, each wrapped under the master key, in files beside the database.

A database forgets nothing when it is told to: deleted bytes stay in its log, in free pages, in
replicas and backups. So what has to be destroyed for good is encrypted under a key that never
was in it: one file for each tenant and epoch, overwritten and removed when the epoch is over.
The files are of no use to whoever lacks the master key.
"""

import os
import secrets
from pathlib import Path

from app.infra import keys
from app.infra.settings import settings

KEY_BYTES = 32
PURPOSE = "tenant-keys"


class KeyDestroyed(Exception):
    """The key of this epoch is not there: what it wrapped cannot be read any more."""


def make(tenant_id: str, epoch: int) -> None:
    """Make the key of an epoch durably; one that is there already stays."""
    path = _path(tenant_id, epoch)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    box = keys.seal_box(_master(), secrets.token_bytes(KEY_BYTES), _context(tenant_id, epoch))
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(box)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never takes the place of a key that something is sealed under.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def read(tenant_id: str, epoch: int) -> bytes:
    """Return the key of an epoch; 32 bytes. It is not kept in memory between calls.

    Raises:
        KeyDestroyed: It is not there.
        BoxDamaged: It was wrapped under another master key, or altered.
    """
    try:
        box = _path(tenant_id, epoch).read_bytes()
    except FileNotFoundError:
        raise KeyDestroyed(f"epoch {epoch}") from None
    return keys.open_box(_master(), box, _context(tenant_id, epoch))


def is_there(tenant_id: str, epoch: int) -> bool:
    """Tell whether there is a key of an epoch."""
    return _path(tenant_id, epoch).exists()


def destroy(tenant_id: str, epoch: int) -> None:
    """Overwrite and remove the key of an epoch; nothing happens if it is gone."""
    path = _path(tenant_id, epoch)
    try:
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _master() -> bytes:
    return keys.derive("", PURPOSE)


def _path(tenant_id: str, epoch: int) -> Path:
    return settings().tenant_keys_folder / f"{tenant_id}.{epoch}.key"


def _context(tenant_id: str, epoch: int) -> str:
    return f"{tenant_id}/{epoch}"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
