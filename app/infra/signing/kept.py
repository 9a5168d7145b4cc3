"""The last checkpoint that was signed, kept outside the database.

A database restored from a backup forgets leaves that the world has seen signed; going on from
there would be a fork. The keeper remembers, and what does not continue is not signed.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.infra import durable
from app.infra.settings import settings
from app.infra.signing.errors import KeptDamaged, OtherOrigin, OtherRoot, SmallerTree
from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import LedgerError
from app.ledger.notes import Note


@dataclass(frozen=True)
class Keeper:
    """A file with one checkpoint; several processes may keep theirs at once.

    Attributes:
        path: Where it is: on a disk that is not restored together with the database.
    """

    path: Path

    def kept(self) -> Checkpoint | None:
        """Return the last checkpoint; None before the first.

        Raises:
            KeptDamaged: There is something else.
        """
        try:
            return Checkpoint.parse(Note.parse(self.path.read_bytes()).text)
        except FileNotFoundError:
            return None
        except LedgerError as error:
            raise KeptDamaged("the checkpoint kept outside cannot be read") from error

    @staticmethod
    def require_continued(
        kept: Checkpoint | None, origin: str, size: int, root_at: Callable[[int], bytes]
    ) -> None:
        """Check that a tree continues what was signed.

        Args:
            kept: What was kept, read before the tree was.
            origin: Of the log.
            size: How many leaves the tree has.
            root_at: Returns the root of the first leaves, of any number up to ``size``.

        Raises:
            OtherOrigin: Another log was signed.
            SmallerTree: More leaves were signed.
            OtherRoot: Other leaves were.
        """
        if kept is None:
            return
        if kept.origin != origin:
            raise OtherOrigin(f"the checkpoint kept outside is of {kept.origin}")
        if kept.size > size:
            raise SmallerTree(f"{kept.size} leaves were signed, and {size} are there")
        if root_at(kept.size) != kept.root:
            raise OtherRoot(f"the first {kept.size} leaves are not those that were signed")

    def keep(self, note: Note) -> bool:
        """Remember a checkpoint durably, before anybody else is shown it.

        Args:
            note: It continues what ``kept`` returned before it was made.

        Returns:
            False if another process has kept a larger one meanwhile; this one is not needed.

        Raises:
            KeptDamaged: It is not known what was kept before.
            OtherRoot: Another tree of the same size was kept.
        """
        checkpoint = Checkpoint.parse(note.text)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("wb") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            kept = self.kept()
            if kept is not None and kept.size > checkpoint.size:
                return False
            if kept is not None and kept.size == checkpoint.size and kept != checkpoint:
                raise OtherRoot(f"another tree of {kept.size} leaves was signed")
            durable.replace(self.path, bytes(note))
        return True


def keeper() -> Keeper:
    """Return the keeper of the configured place."""
    return Keeper(settings().kept_checkpoint)
