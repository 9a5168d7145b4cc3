"""The last checkpoint that was signed, kept outside the database.

A database restored from a backup forgets leaves that the world has seen signed; going on from
there would be a fork. The keeper remembers, and what does not continue is not signed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.infra.settings import settings
from app.infra.signing.errors import OtherOrigin, OtherRoot, SmallerTree
from app.ledger.checkpoints import Checkpoint
from app.ledger.notes import Note


@dataclass(frozen=True)
class Keeper:
    """A file with one checkpoint. Whoever calls it holds the lock of the log.

    Attributes:
        path: Where it is: on a disk that is not restored together with the database.
    """

    path: Path

    def kept(self) -> Checkpoint | None:
        """Return the last checkpoint; None before the first."""
        if not self.path.exists():
            return None
        return Checkpoint.parse(Note.parse(self.path.read_bytes()).text)

    def require_continued(self, origin: str, size: int, root_at: Callable[[int], bytes]) -> None:
        """Check that a tree continues what was signed.

        Args:
            origin: Of the log.
            size: How many leaves the tree has.
            root_at: Returns the root of the first leaves, of any number up to ``size``.

        Raises:
            OtherOrigin: Another log was signed.
            SmallerTree: More leaves were signed.
            OtherRoot: Other leaves were.
        """
        kept = self.kept()
        if kept is None:
            return
        if kept.origin != origin:
            raise OtherOrigin(f"the checkpoint kept outside is of {kept.origin}")
        if kept.size > size:
            raise SmallerTree(f"{kept.size} leaves were signed, and {size} are there")
        if root_at(kept.size) != kept.root:
            raise OtherRoot(f"the first {kept.size} leaves are not those that were signed")

    def keep(self, note: Note) -> None:
        """Remember a checkpoint durably, before anybody else is shown it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("wb") as file:
            file.write(bytes(note))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def keeper() -> Keeper:
    """Return the keeper of the configured place."""
    return Keeper(settings().kept_checkpoint)
