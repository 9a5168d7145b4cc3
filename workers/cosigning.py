"""Checkpoints go out: to witnesses, who cosign them, and to a file and a webhook.

Each of these has a loop of its own, so that one that hangs keeps nothing else from going on.
A failure is logged when it begins and when it ends, and ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from app.domain.actions import cosigning
from app.domain.log import SignedCheckpoint
from app.domain.queries import log as reads
from app.infra import clock, db, durable
from app.infra.outward import (
    OutwardError,
    Refused,
    SizeConflict,
    ask_witness,
    post_checkpoint,
)
from app.infra.settings import Settings
from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import BadSignature
from app.ledger.notes import VerifierKey
from app.ledger.trust import Quorum

log = structlog.get_logger(__name__)

PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
UNCOSIGNED_SECONDS = 30.0
"""How long an announcement waits for a quorum; then the checkpoint goes out without."""


CONTRADICTED = (409, 422)


class Loop(Protocol):
    """Something to be done again and again."""

    def tick(self) -> None:
        """Do whatever is due."""


@dataclass
class Patience:
    """Asks someone less and less often while they fail.

    Attributes:
        name: Who, for the log.
        failures: How often in a row they have failed.
    """

    name: str
    failures: int = 0
    _wait_until: float = 0.0

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return time.monotonic() >= self._wait_until

    def lose(self, error: Exception) -> None:
        """Note a failure."""
        pause = min(LONGEST_PAUSE_SECONDS, 2.0**self.failures)
        self._wait_until = time.monotonic() + pause
        self.failures += 1
        if self.failures == 1:
            log.warning("outward.failed", name=self.name, error=f"{type(error).__name__}: {error}")

    def regain(self) -> None:
        """Note that it works."""
        if self.failures:
            log.info("outward.recovered", name=self.name, failures=self.failures)
        self.failures = 0


@dataclass
class Cosigning:
    """Has one witness cosign the newest checkpoint.

    Attributes:
        name: Of the witness in the operator's policy.
        key: Its key.
        url: Where it listens.
        renewed_after: How old its cosignature of the newest checkpoint may get.
    """

    name: str
    key: VerifierKey
    url: str
    renewed_after: timedelta
    _known: int | None = None
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(f"witness {self.name}")

    def tick(self) -> None:
        """Ask, if there is something to cosign."""
        if not self._patience.is_due():
            return
        try:
            self._ask()
        except SizeConflict as error:
            self._learn(error)
        except (OutwardError, BadSignature) as error:
            if isinstance(error, Refused) and error.status in CONTRADICTED:
                # The witness has seen another tree than the one we show it.
                log.critical("witness.refused", name=self.name, status=error.status)
            self._patience.lose(error)

    def _ask(self) -> None:
        oldest = clock.now() - self.renewed_after
        with db.reading() as tx:
            submission = cosigning.prepare(tx, self.key, oldest, self._known)
        if submission is None:
            return
        line = ask_witness(self.url, submission, self.key)
        size = Checkpoint.parse(submission.note.text).size
        with db.writing() as tx:
            cosigning.record(tx, self.key, size, line)
        self._known = None
        self._patience.regain()

    def _learn(self, conflict: SizeConflict) -> None:
        with db.reading() as tx:
            newest = reads.newest(tx)
        size = 0 if newest is None else newest.size
        if conflict.known > size:
            # Somebody has shown the witness leaves that we do not have: we were rolled back.
            log.critical("witness.ahead", name=self.name, size=size, known=conflict.known)
            self._patience.lose(conflict)
        elif self._known == conflict.known:
            self._patience.lose(conflict)
        self._known = conflict.known if conflict.known <= size else None


@dataclass
class Announcing:
    """Hands out every new checkpoint.

    Attributes:
        name: Whom to, for the log.
        give: Takes the note.
        quorum: Cosignatures that are waited for, a while.
    """

    name: str
    give: Callable[[bytes], None]
    quorum: Quorum
    _given: bytes = b""
    _patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self._patience = Patience(self.name)

    def tick(self) -> None:
        """Hand out the newest checkpoint, if it is another one than the last."""
        note = self._due() if self._patience.is_due() else None
        if note is None or note == self._given:
            return
        try:
            self.give(note)
        except (OutwardError, OSError) as error:
            self._patience.lose(error)
        else:
            self._given = note
            self._patience.regain()

    def _due(self) -> bytes | None:
        with db.reading() as tx:
            waited = clock.now() - timedelta(seconds=UNCOSIGNED_SECONDS)
            found = (reads.cosigned(tx, self.quorum), reads.newest(tx, waited))
            due = max((one for one in found if one is not None), key=_size, default=None)
            return None if due is None else reads.note_of(tx, due)


def loops(config: Settings) -> list[Loop]:
    """Return one loop for each witness and each place that checkpoints go to."""
    policy = config.witness_policy
    made: list[Loop] = [
        Cosigning(name, party.key, party.url or "", timedelta(seconds=config.recosign_seconds))
        for name, party in policy.witnesses.items()
    ]
    if config.announce_file is not None:
        path = config.announce_file
        made.append(Announcing("file", partial(durable.replace, path, mode=0o644), policy.quorum))
    if config.announce_url is not None:
        url = config.announce_url.get_secret_value()
        made.append(Announcing("webhook", partial(post_checkpoint, url), policy.quorum))
    return made


def _size(signed: SignedCheckpoint) -> int:
    return signed.size
