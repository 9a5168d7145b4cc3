"""The shredder: what has been kept long enough is destroyed, and keys that could open it."""

import time
from dataclasses import dataclass

import structlog

from app.domain.actions import shredding
from app.domain.audit import SWEEPER
from app.infra import db

log = structlog.get_logger(__name__)

DUE_SECONDS = 3600.0


@dataclass
class Shredder:
    """Shreds what is due, and destroys keys of tenants that are retired with every shredding."""

    _due_at: float = 0.0
    _is_in_log: bool = False
    """Whether SQLite's write-ahead log may hold what was shredded."""

    def tick(self) -> None:
        """Do whatever is to be done; a process killed at any point is followed by another."""
        if time.monotonic() >= self._due_at:
            self._due_at = time.monotonic() + DUE_SECONDS
            self._shred_due()
        with db.reading() as tx:
            unfinished = shredding.unfinished(tx)
        for tenant_id in unfinished:
            log.info("keys.destroyed", count=finish(tenant_id))
        self._is_in_log |= bool(unfinished)
        if self._is_in_log:
            self._is_in_log = not db.truncate_log()

    def _shred_due(self) -> None:
        with db.reading() as tx:
            due = shredding.due(tx)
        for tenant_id, request_id in due:
            with db.writing() as tx:
                shredding.shred(tx, SWEEPER, tenant_id, request_id)
        if due:
            log.info("details.shredded", count=len(due))
            self._due_at = 0.0


def finish(tenant_id: str) -> int:
    """Wrap what is needed under a tenant's current key, and destroy the retired ones.

    Returns:
        How many keys were destroyed.
    """
    while True:
        with db.writing() as tx:
            wrapped = shredding.wrap_anew(tx, tenant_id)
        if wrapped < shredding.MOST_WRAPPED:
            break
    with db.writing() as tx:
        return shredding.destroy_retired(tx, tenant_id)
