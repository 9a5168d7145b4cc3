"""What the service keeps: every file of its data folder and the rows of every table."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from app.domain.log import CertificateDue, Leaf, SignedCheckpoint, Unsealed
from app.domain.tables import metadata
from app.infra.db import make_engine
from tests.e2e.service import Impatient, Service, eventually

PATIENCE_SECONDS = 30.0
OF_PROCESSES = ("logs", "run", "broker")
"""Logs, signs of life, and bells, of which one may be rung again at any time."""
OF_DATABASE = ("lethe.db-wal", "lethe.db-shm")
LOG = ("log_leaves", "log_nodes", "log_checkpoints")
"""What an entry becomes once it is sealed and signed."""
ALWAYS_RECORDED = ("audit_entries", "jobs", "outbox", *LOG)
"""What may tell of a recorded refusal beside the row it is about."""


@dataclass(frozen=True)
class Kept:
    """What is kept at a moment.

    Attributes:
        files: Paths of files, and of folders below the staging folder.
        rows: Number of rows by table.
    """

    files: frozenset[str]
    rows: Mapping[str, int]

    def beyond(self, before: "Kept") -> tuple[set[str], dict[str, int]]:
        """Return the files that came or went, and by how much each table grew."""
        grown = Counter(self.rows)
        grown.subtract(before.rows)
        return set(self.files ^ before.files), {table: n for table, n in grown.items() if n}


class Traces:
    """Looks at what a service keeps."""

    def __init__(self, service: Service) -> None:
        self._home = service.home
        self._engine = make_engine(service.config.database_url)

    def close(self) -> None:
        """Close the connection to the database."""
        self._engine.dispose()

    def now(self) -> Kept:
        """Look, once the log has caught up with everything that happened before."""
        eventually(self._is_log_at_rest, PATIENCE_SECONDS, "the log at rest")
        with self._engine.connect() as connection:
            rows = {
                name: connection.scalar(select(func.count()).select_from(table)) or 0
                for name, table in metadata.tables.items()
            }
        return Kept(frozenset(filter(None, map(self._name, self._home.rglob("*")))), rows)

    def require_only(self, before: Kept, free: Collection[str] = (), **rows: int) -> None:
        """Wait until nothing has come or gone since ``before``.

        Args:
            before: What was kept.
            free: Tables that do not matter.
            rows: By how much other tables have grown; those not named, not at all.
        """

        def difference() -> tuple[set[str], dict[str, int]]:
            files, grown = self.now().beyond(before)
            return files, {name: n for name, n in grown.items() if name not in free}

        try:
            eventually(lambda: difference() == (set(), rows), PATIENCE_SECONDS)
        except Impatient:
            assert difference() == (set(), rows)

    def require_refusal(self, before: Kept, **rows: int) -> None:
        """Wait until there are no more than ``rows`` and what tells of a refusal."""
        self.require_only(before, ALWAYS_RECORDED, **rows)

    def _is_log_at_rest(self) -> bool:
        with self._engine.connect() as connection:
            return not _waits(connection) and _signed(connection) == _sealed(connection)

    def _name(self, path: Path) -> str | None:
        name = path.relative_to(self._home)
        if name.parts[0] in OF_PROCESSES or name.name in OF_DATABASE:
            return None
        is_listed = path.is_file() or (name.parts[0] == "staging" and len(name.parts) > 1)
        return str(name) if is_listed else None


def _waits(connection: Connection) -> bool:
    """Tell whether an entry waits to be sealed, or a certificate to be issued."""
    due = select(CertificateDue.request_id).where(CertificateDue.failure.is_(None))
    looks = (select(Unsealed.position), due)
    return any(connection.execute(look.limit(1)).first() is not None for look in looks)


def _sealed(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(Leaf)) or 0


def _signed(connection: Connection) -> int:
    return connection.scalar(select(func.max(SignedCheckpoint.size))) or 0
