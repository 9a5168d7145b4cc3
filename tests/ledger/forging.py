"""Tools of the forgers: good evidence, and how a refusal is checked."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from app.ledger.certificates import Certificate
from app.ledger.checkpoints import Checkpoint
from app.ledger.notes import Note
from app.ledger.verify import Expectations, Refused, verify_evidence
from tests.ledger.case import (
    START,
    WITNESSES,
    BuiltLog,
    certificate,
    facts,
    good_case,
    issue,
    pack_files,
)

CASE = good_case()
FILES = dict(CASE.files)


def refused(name: str, files: dict[str, bytes], expected: Expectations) -> None:
    """Assert that the evidence is refused by exactly this name."""
    with pytest.raises(Refused) as caught:
        verify_evidence(files, expected)
    assert caught.value.name == name


def changed(name: str, change: Callable[[bytes], bytes]) -> dict[str, bytes]:
    return {**FILES, name: change(FILES[name])}


def evidence_of(made: Certificate, log: BuiltLog, cited: list) -> dict[str, bytes]:
    return pack_files(log, [issue(log, made)], cited)


def certified(**changes: object) -> dict[str, bytes]:
    """Evidence in which everything is signed and logged rightly, and the certificate is odd."""
    log = BuiltLog()
    cited = facts(log)
    return evidence_of(certificate(cited, 8, **changes), log, cited)


def cosigned(*numbers: int, minutes: int = 30) -> dict[str, bytes]:
    note = CASE.log.note()
    checkpoint = Checkpoint.parse(note.text)
    lines = tuple(
        WITNESSES[number].cosign(checkpoint, START + timedelta(minutes=minutes))
        for number in numbers
    )
    cosigned_note = bytes(Note(note.text, (*note.signatures, *lines)))
    files = {}
    for name, content in FILES.items():
        files[name] = content.replace(bytes(note), cosigned_note)
    return files
