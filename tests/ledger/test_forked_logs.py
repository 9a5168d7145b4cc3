"""A log that changed its past is recognised by whoever kept a checkpoint."""

from dataclasses import replace

import pytest

from app.ledger.checkpoints import Checkpoint
from app.ledger.tree_hash import hash_leaf
from app.ledger.verify import Refused, verify_evidence
from tests.ledger.case import (
    LOG,
    STRANGER,
    BuiltLog,
    certificate,
    entry,
    facts,
    good_case,
    pack_files,
    trusting,
)
from tests.ledger.forging import CASE, FILES, evidence_of, refused


def forked(count: int = 13) -> BuiltLog:
    """The same log, signed by the same key, with another past."""
    log = BuiltLog()
    for number, leaf in enumerate(CASE.log.leaves[:count]):
        log.leaves.append(leaf if number != 2 else bytes(entry(2, "version.forged")))
    while len(log.leaves) < count:
        log.leaves.append(bytes(entry(len(log.leaves), "version.registered")))
    log.tree.extend(hash_leaf(leaf) for leaf in log.leaves)
    return log


def test_a_fork_is_recognised_at_the_same_size() -> None:
    refused("Fork", FILES, replace(trusting(), pinned=bytes(forked().note())))


def test_a_fork_is_recognised_at_another_size() -> None:
    pinned = bytes(forked(8).note())

    refused("BadConsistency", FILES, replace(trusting(), pinned=pinned))


def test_a_log_restored_from_a_backup_is_recognised() -> None:
    yesterday = pack_files(
        CASE.log, [(FILES["certificate.dsse.json"], 7)], CASE.cited, note=CASE.log.note(9)
    )
    refused("OlderThanPin", yesterday, replace(trusting(), pinned=bytes(CASE.log.note())))

    regrown = good_case().log
    del regrown.leaves[9:]
    regrown.tree = type(regrown.tree)(hash_leaf(leaf) for leaf in regrown.leaves)
    for number in range(9, 15):
        regrown.append(entry(number, "version.other"))
    today = pack_files(regrown, [(FILES["certificate.dsse.json"], 7)], CASE.cited, pins=(13,))
    refused("BadConsistency", today, replace(trusting(), pinned=bytes(CASE.log.note())))


def test_a_pin_without_a_proof_is_not_taken_on_trust() -> None:
    refused("BadConsistency", FILES, replace(trusting(), pinned=bytes(CASE.log.note(5))))


def test_a_proof_between_other_sizes_is_refused() -> None:
    expected = replace(
        trusting(), pinned=bytes(CASE.log.note(5)), consistency=CASE.log.consistency(4, 13)
    )

    refused("BadConsistency", FILES, expected)


@pytest.mark.parametrize(
    "proof", [b"", b"[]", b'{"from":5,"to":13}', b'{"from":5,"to":13,"hashes":["00"]}',
              b'{"from":5,"to":13,"hashes":["zz"]}', b'{"from":5,"to":13,"hashes":[1]}'],
)  # fmt: skip
def test_what_is_no_proof_of_consistency_is_refused(proof: bytes) -> None:
    expected = replace(trusting(), pinned=bytes(CASE.log.note(5)), consistency=proof)

    with pytest.raises(Refused, match="MalformedProof"):
        verify_evidence(FILES, expected)


def test_a_pin_of_another_log_is_refused() -> None:
    other = replace(LOG, name="other.example").sign_checkpoint(
        Checkpoint("other.example", 3, bytes(32))
    )

    refused("OtherLog", FILES, replace(trusting(), pinned=bytes(other)))


def test_a_pin_that_the_log_never_signed_is_refused() -> None:
    pinned = bytes(CASE.log.note(3, STRANGER))

    refused("UnknownKey", FILES, replace(trusting(), pinned=pinned))


def test_a_certificate_that_names_another_log_is_refused() -> None:
    log = BuiltLog()
    cited = facts(log)
    made = certificate(cited, 8)
    other = replace(made, log=replace(made.log, origin="other.example"))

    refused("OtherLog", evidence_of(other, log, cited), trusting())
