"""What a witness cosigns: what the log has signed, if it continues what it cosigned before."""

from contextlib import suppress
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.checkpoints import Checkpoint
from app.ledger.errors import (
    BadConsistency,
    BadSignature,
    Fork,
    Malformed,
    MalformedCheckpoint,
    MalformedSubmission,
    OtherSize,
    UnknownKey,
    UnknownLog,
)
from app.ledger.merkle import MemoryTree, prove_consistency
from app.ledger.notes import Note
from app.ledger.tree_hash import EMPTY_ROOT, hash_leaf
from app.ledger.witnessing import Submission, log_of, verify_continued
from tests.ledger.case import (
    LOG,
    ORIGIN,
    START,
    STRANGER,
    WITNESSES,
    entry,
    filled,
    good_case,
)

# The request of C2SP's tlog-witness.
EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501
FORK, TREE = 1, 0


def tree(branch: int, count: int = 12) -> MemoryTree:
    """Two logs that have their first three leaves in common."""
    leaves = [b"%d" % n if n < 3 else b"%d %d" % (branch, n) for n in range(count)]
    return MemoryTree(map(hash_leaf, leaves))


TREES = [tree(TREE), tree(FORK)]


def checkpoint(branch: int, size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, TREES[branch].root(size))


def submission(branch: int, size: int, old_size: int, source: int | None = None) -> Submission:
    """What a log sends; ``source`` is the tree that the proof is from."""
    proof: list[bytes] = []
    if 0 < old_size <= size:
        read = TREES[branch if source is None else source].read
        proof = prove_consistency(old_size, size, read)
    return Submission(old_size, tuple(proof), LOG.sign_checkpoint(checkpoint(branch, size)))


def test_the_example_of_the_specification_is_read_and_written() -> None:
    read = Submission.parse(EXAMPLE.encode())

    assert (read.old_size, len(read.proof)) == (20852014, 4)
    assert Checkpoint.parse(read.note.text).size == 20852163
    assert bytes(read).decode() == EXAMPLE


def test_every_pair_of_sizes_is_cosigned_exactly_if_one_continues_the_other() -> None:
    """Both branches, honest proofs, from any state of the witness to any other checkpoint."""
    for known_branch, branch in product((TREE, FORK), repeat=2):
        for known_size, size in product(range(9), repeat=2):
            known = checkpoint(known_branch, known_size) if known_size else None
            sent = submission(branch, size, known_size)
            is_same = branch == known_branch or known_size <= 3
            try:
                verify_continued(sent, checkpoint(branch, size), known)
            except (Fork, BadConsistency):
                assert size < known_size or not is_same
            else:
                assert size >= known_size
                assert is_same


@pytest.mark.parametrize("source", [TREE, FORK])
def test_no_proof_leads_from_one_branch_to_the_other(source: int) -> None:
    for size in range(6, 11):
        with pytest.raises(BadConsistency):
            verify_continued(
                submission(FORK, size, 5, source), checkpoint(FORK, size), checkpoint(TREE, 5)
            )


def test_another_tree_of_the_same_size_is_a_fork() -> None:
    with pytest.raises(Fork):
        verify_continued(submission(FORK, 5, 5), checkpoint(FORK, 5), checkpoint(TREE, 5))


@pytest.mark.parametrize("old_size", [0, 3, 6])
def test_a_log_that_is_wrong_about_the_witness_is_told(old_size: int) -> None:
    with pytest.raises(OtherSize) as refused:
        verify_continued(submission(TREE, 7, old_size), checkpoint(TREE, 7), checkpoint(TREE, 5))

    assert refused.value.known == 5


def test_a_witness_that_knows_nothing_takes_no_proof() -> None:
    sent = replace(submission(TREE, 7, 0), proof=(bytes(32),))

    with pytest.raises(BadConsistency):
        verify_continued(sent, checkpoint(TREE, 7), None)


def test_an_empty_tree_has_the_root_of_the_empty_tree() -> None:
    verify_continued(submission(TREE, 0, 0), Checkpoint(ORIGIN, 0, EMPTY_ROOT), None)
    with pytest.raises(Fork):
        verify_continued(submission(TREE, 0, 0), Checkpoint(ORIGIN, 0, bytes(32)), None)


@pytest.mark.parametrize("change", ["drop", "double", "swap", "flip"])
def test_a_changed_proof_is_refused(change: str) -> None:
    honest = submission(TREE, 11, 5)
    first, second, *rest = honest.proof
    proofs = {
        "drop": (second, *rest),
        "double": (first, *honest.proof),
        "swap": (second, first, *rest),
        "flip": (bytes([first[0] ^ 1]) + first[1:], second, *rest),
    }
    sent = replace(honest, proof=proofs[change])

    with pytest.raises(BadConsistency):
        verify_continued(sent, checkpoint(TREE, 11), checkpoint(TREE, 5))


def test_only_the_log_speaks_for_itself() -> None:
    sent = submission(TREE, 7, 5)
    assert log_of(sent, [LOG.key]) == checkpoint(TREE, 7)

    forged = replace(sent, note=STRANGER.sign_checkpoint(checkpoint(TREE, 7)))
    with pytest.raises(UnknownKey):
        log_of(forged, [LOG.key])
    with pytest.raises(UnknownLog):
        log_of(sent, [replace(LOG.key, name="other.example")])
    text = sent.note.text.replace("7", "8", 1)
    with pytest.raises(BadSignature):
        log_of(replace(sent, note=Note(text, sent.note.signatures)), [LOG.key])
    with pytest.raises(MalformedSubmission):
        log_of(replace(sent, old_size=8), [LOG.key])


def test_neither_a_cosignature_nor_another_text_makes_a_checkpoint() -> None:
    text = str(checkpoint(TREE, 7))
    line = WITNESSES[0].cosign(checkpoint(TREE, 7), START)
    with pytest.raises(UnknownKey):
        log_of(Submission(0, (), Note(text, (line,))), [LOG.key])
    with pytest.raises(MalformedCheckpoint):
        log_of(Submission(0, (), LOG.sign_note(f"{ORIGIN}\n")), [LOG.key])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 1",
        b"old 1\n",
        b"old  1\n\n" + EXAMPLE.partition("\n\n")[2].encode(),
        b"old 01\n\n" + EXAMPLE.partition("\n\n")[2].encode(),
        b"old -1\n\n" + EXAMPLE.partition("\n\n")[2].encode(),
        b"new 1\n\n" + EXAMPLE.partition("\n\n")[2].encode(),
        b"old 1\nAAAA\n\n" + EXAMPLE.partition("\n\n")[2].encode(),
        b"old 1\n\n" + b"x",
        EXAMPLE.replace("\n", "\r\n").encode(),
        EXAMPLE.replace("kaw=", "kax=").encode(),
        b"old 1" + b"\n" + b"A" * 43 + b"=" + b"\n" + EXAMPLE.partition("\n\n")[2].encode(),
        ("old 1\n" + "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n" * 64 + "\n"
         + EXAMPLE.partition("\n\n")[2]).encode(),
    ],
)  # fmt: skip
def test_what_is_no_submission_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed):
        log_of(Submission.parse(body), [LOG.key])


@given(st.binary(max_size=300), st.integers(0, len(EXAMPLE)), st.integers(0, 40))
def test_any_bytes_are_a_submission_or_refused(junk: bytes, start: int, length: int) -> None:
    data = EXAMPLE.encode()
    for body in (junk, data[:start] + junk + data[start + length :]):
        with suppress(Malformed):
            read = Submission.parse(body)
            assert Submission.parse(bytes(read)) == read


def test_what_was_logged_by_our_own_log_is_cosigned_step_by_step() -> None:
    log = good_case().log
    known = None
    for _ in range(20):
        now = Checkpoint.parse(log.note().text)
        old = 0 if known is None else known.size
        proof = prove_consistency(old, now.size, log.tree.read) if old else []
        verify_continued(Submission(old, tuple(proof), log.note()), now, known)
        known = now
        filled(log, 1)
        log.append(entry(len(log.leaves), "version.made"))
