"""A log that tells two histories gets them past no reader who wants witnesses."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from app.cli.witness import trust
from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import BadConsistency, Fork, LedgerError, MalformedSubmission, OtherSize
from app.ledger.merkle import MemoryTree, prove_consistency
from app.ledger.notes import Note, NoteSignature
from app.ledger.tree_hash import hash_leaf
from app.ledger.verify import Expectations, verify_evidence
from app.ledger.witnessing import Submission
from app.witness.desk import Desk
from app.witness.keys import own_key
from tests.ledger.case import (
    LOG,
    ORIGIN,
    BuiltLog,
    at_least,
    certificate,
    entry,
    facts,
    issue,
    key_of,
    pack_files,
    trusting,
)
from tests.ledger.forging import refused


def witness(folder: Path) -> Desk:
    trust(folder, str(LOG.key))
    return Desk(folder, own_key(folder))


def history(name: str) -> tuple[BuiltLog, dict[str, bytes]]:
    """A log with a certified request in it; two of them have their first leaf in common."""
    log = BuiltLog()
    log.append(entry(0, "version.registered"))
    log.append(entry(1, f"version.{name}"))
    cited = facts(log)
    issued = issue(log, certificate(cited, 8))
    return log, pack_files(log, [issued], cited)


def submission(
    log: BuiltLog, size: int, old_size: int, source: BuiltLog | None = None
) -> Submission:
    read = (source or log).tree.read
    proof = prove_consistency(old_size, size, read) if 0 < old_size <= size else []
    return Submission(old_size, tuple(proof), log.note(size))


def shown_with(files: dict[str, bytes], lines: Sequence[NoteSignature]) -> dict[str, bytes]:
    """The evidence, below whose checkpoint the log writes these lines."""
    plain = files["checkpoint.txt"]
    note = Note.parse(plain)
    cosigned = bytes(Note(note.text, (*note.signatures, *lines)))
    return {name: content.replace(plain, cosigned) for name, content in files.items()}


def wanting(count: int, *desks: Desk) -> Expectations:
    witnesses = tuple(key_of(desk.witness) for desk in desks)
    return replace(trusting(), witnesses=witnesses, is_quorum=at_least(count))


HONEST, FORGED = history("made"), history("forged")
SIZE = HONEST[0].tree.size


def test_without_witnesses_both_histories_look_right() -> None:
    assert HONEST[1]["checkpoint.txt"] != FORGED[1]["checkpoint.txt"]
    for _, files in (HONEST, FORGED):
        verify_evidence(files, trusting())


def test_the_history_that_comes_second_gets_no_cosignature(tmp_path: Path) -> None:
    desk = witness(tmp_path)
    line = desk.cosign(submission(HONEST[0], SIZE, 0))
    with pytest.raises(Fork):
        desk.cosign(submission(FORGED[0], SIZE, SIZE))

    verify_evidence(shown_with(HONEST[1], [line]), wanting(1, desk))
    refused("QuorumMissed", FORGED[1], wanting(1, desk))
    # Nor does it help to show the cosignature of the other history.
    refused("BadSignature", shown_with(FORGED[1], [line]), wanting(1, desk))


def test_nothing_that_a_log_may_send_has_the_second_history_cosigned(tmp_path: Path) -> None:
    """Every size, every old size, proofs from either tree."""
    desk = witness(tmp_path)
    desk.cosign(submission(HONEST[0], 4, 0))
    refusals = set()
    for size, old_size in product(range(SIZE + 1), repeat=2):
        for source in (HONEST[0], FORGED[0]):
            with pytest.raises(LedgerError) as caught:
                desk.cosign(submission(FORGED[0], size, old_size, source))
            refusals.add(caught.type)
    assert refusals == {Fork, BadConsistency, OtherSize, MalformedSubmission}


@pytest.mark.parametrize(("count", "passes"), [(1, {"honest", "forged"}), (2, set())])
def test_showing_each_of_two_witnesses_another_history_takes_both_to_be_bribed(
    tmp_path: Path, count: int, passes: set[str]
) -> None:
    first, second = witness(tmp_path / "1"), witness(tmp_path / "2")
    honest = shown_with(HONEST[1], [first.cosign(submission(HONEST[0], SIZE, 0))])
    forged = shown_with(FORGED[1], [second.cosign(submission(FORGED[0], SIZE, 0))])
    expected = wanting(count, first, second)
    for name, files in (("honest", honest), ("forged", forged)):
        if name in passes:
            verify_evidence(files, expected)
        else:
            refused("QuorumMissed", files, expected)


def test_of_three_witnesses_two_follow_one_history_at_most(tmp_path: Path) -> None:
    for views in product((HONEST, FORGED), repeat=3):
        folder = tmp_path / "".join("h" if view is HONEST else "f" for view in views)
        desks = [witness(folder / str(number)) for number in range(3)]
        given: dict[int, list[NoteSignature]] = {id(HONEST): [], id(FORGED): []}
        for desk, view in zip(desks, views, strict=True):
            given[id(view)].append(desk.cosign(submission(view[0], SIZE, 0)))
        accepted = 0
        for view in (HONEST, FORGED):
            files = shown_with(view[1], given[id(view)])
            if len(given[id(view)]) >= 2:
                verify_evidence(files, wanting(2, *desks))
                accepted += 1
            else:
                refused("QuorumMissed", files, wanting(2, *desks))
        assert accepted == 1


def test_a_log_rolled_back_to_yesterday_gets_no_new_cosignature(tmp_path: Path) -> None:
    desk = witness(tmp_path)
    log, files = history("made")
    yesterday = desk.cosign(submission(log, SIZE, 0))
    for number in range(5):
        log.append(entry(20 + number, "version.made"))
    desk.cosign(submission(log, SIZE + 5, SIZE))
    with pytest.raises(OtherSize):
        desk.cosign(submission(log, SIZE, SIZE))
    # The old cosignature stays right; that it is old is seen by who wants a new one.
    old = shown_with(files, [yesterday])
    verify_evidence(old, wanting(1, desk))
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    refused("TooOld", old, replace(wanting(1, desk), not_before=tomorrow))


def test_a_log_regrown_after_a_rollback_is_refused_at_any_size(tmp_path: Path) -> None:
    desk = witness(tmp_path)
    desk.cosign(submission(HONEST[0], SIZE, 0))
    regrown = BuiltLog()
    regrown.leaves = [*HONEST[0].leaves[: SIZE - 2]]
    regrown.tree = MemoryTree(map(hash_leaf, regrown.leaves))
    for number in range(12):
        regrown.append(entry(40 + number, "version.other"))
        size = regrown.tree.size
        if size >= SIZE:
            with pytest.raises(Fork if size == SIZE else BadConsistency):
                desk.cosign(submission(regrown, size, SIZE))
    kept = desk.records.of(ORIGIN).read()
    assert kept is not None
    assert Checkpoint.parse(kept.text).size == SIZE
