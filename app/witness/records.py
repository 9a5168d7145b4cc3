"""What a witness has cosigned last, of each log: read, compared and replaced in one turn."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from app.infra import durable
from app.ledger.errors import Malformed
from app.ledger.notes import Note
from app.witness.errors import RecordDamaged


@dataclass(frozen=True)
class Record:
    """The checkpoint of one log that was cosigned last.

    Attributes:
        path: Of the file that holds it, with its signatures.
    """

    path: Path

    def read(self) -> Note | None:
        """Return the checkpoint; None if none was cosigned.

        Raises:
            RecordDamaged: The file is there and holds none.
        """
        if not self.path.exists():
            return None
        try:
            return Note.parse(self.path.read_bytes())
        except Malformed as error:
            raise RecordDamaged(f"{self.path} cannot be read") from error

    def replace(self, note: Note) -> None:
        """Remember another one, durably, before anybody is shown its cosignature."""
        durable.replace(self.path, bytes(note))


@dataclass(frozen=True)
class Records:
    """A folder with one file for each log.

    Attributes:
        folder: Where they are. It must never be restored from a backup: a witness that has
            forgotten a checkpoint could cosign a fork of it.
    """

    folder: Path

    def of(self, origin: str) -> Record:
        """Return the record of a log, to look at."""
        return self.named(sha256(origin.encode()).hexdigest())

    def named(self, digest: str) -> Record:
        """Return the record of a log, given by the SHA-256 of its origin in hexadecimal."""
        return Record(self.folder / f"{digest}.checkpoint")

    @contextmanager
    def turn(self, origin: str) -> Iterator[Record]:
        """Hold the record of a log alone, among all threads and processes of this machine."""
        record = self.of(origin)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with record.path.with_suffix(".lock").open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield record
