"""Commitments bind, hide, and show one member without another."""

import hmac
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.commitments import CommittedList, new_key
from app.ledger.disclosures import commit, verify_commitment, verify_membership
from app.ledger.errors import NotCommitted
from app.ledger.merkle import MemoryTree
from app.ledger.tree_hash import EMPTY_ROOT, hash_leaf

KEY = bytes(range(32))


def test_a_commitment_is_the_hmac_of_the_detail() -> None:
    assert commit(b"detail", KEY) == hmac.new(KEY, b"detail", "sha256").digest()


def test_the_detail_and_its_key_open_a_commitment_and_nothing_else_does() -> None:
    commitment = commit(b"detail", KEY)

    verify_commitment(commitment, b"detail", KEY)
    for detail, key in ((b"Detail", KEY), (b"detail", bytes(32)), (b"detail", b""), (b"", KEY)):
        with pytest.raises(NotCommitted):
            verify_commitment(commitment, detail, key)


def test_keys_are_random_and_of_full_length() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    for key in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError):
            commit(b"", key)
        with pytest.raises(ValueError):
            CommittedList([], key)


@given(st.sets(st.text(), min_size=1, max_size=20), st.binary(min_size=32, max_size=32))
def test_every_member_and_nobody_else_is_shown(members: set[str], key: bytes) -> None:
    committed = CommittedList(members, key)
    for member in members:
        shown = committed.prove(member)
        verify_membership(member, shown, root=committed.root(), size=committed.size)
        with pytest.raises(NotCommitted):
            verify_membership(member + "x", shown, root=committed.root(), size=committed.size)
    with pytest.raises(NotCommitted):
        committed.prove("".join(sorted(members)) + "x")


def test_order_and_repetition_do_not_matter_and_the_key_does() -> None:
    committed = CommittedList(["b", "a", "b"], KEY)

    assert (committed.root(), committed.size) == (CommittedList(["a", "b"], KEY).root(), 2)
    assert committed.root() != CommittedList(["a", "b"], bytes(32)).root()
    assert CommittedList([], KEY).root() == EMPTY_ROOT


@pytest.mark.parametrize("size", [*range(1, 34), 100, 1000])
def test_the_root_is_that_of_the_tree_of_the_log(size: int) -> None:
    committed = CommittedList([f"row-{number}" for number in range(size)], KEY)
    leaves = [committed.leaves[place : place + 32] for place in range(0, 32 * size, 32)]

    assert committed.root() == MemoryTree(leaves).root()


def test_a_stored_list_proves_what_it_proved_before() -> None:
    committed = CommittedList([f"row-{number}" for number in range(11)], KEY)
    stored = CommittedList.stored(committed.leaves, KEY)

    assert (stored.root(), stored.size) == (committed.root(), 11)
    assert stored.prove("row-4") == committed.prove("row-4")
    with pytest.raises(NotCommitted):
        CommittedList.stored(committed.leaves, bytes(32)).prove("row-4")
    with pytest.raises(ValueError):
        CommittedList.stored(committed.leaves[:-1], KEY)


def test_an_altered_proof_shows_nothing() -> None:
    committed = CommittedList([f"row-{number}" for number in range(9)], KEY)
    shown = committed.prove("row-4")
    for wrong in (
        replace(shown, index=shown.index ^ 1),
        replace(shown, index=99),
        replace(shown, key="00" * 32),
        replace(shown, key="not hexadecimal"),
        replace(shown, hashes=shown.hashes[:-1]),
        replace(shown, hashes=(*shown.hashes, "00" * 32)),
        replace(shown, hashes=(*shown.hashes[:-1], "zz")),
    ):
        with pytest.raises(NotCommitted):
            verify_membership("row-4", wrong, root=committed.root(), size=9)
    with pytest.raises(NotCommitted):
        verify_membership("row-4", shown, root=committed.root(), size=17)


def test_what_one_member_is_shown_finds_no_other_by_trying_all() -> None:
    """The whole id space is tried against every hash that a member gets to see."""
    ids = [f"row-{number}" for number in range(2_000)]
    committed = CommittedList(ids[:8], KEY)
    shown = committed.prove("row-3")
    seen = {bytes.fromhex(part) for part in shown.hashes}
    own_key = bytes.fromhex(shown.key)
    hmac_of = lambda key, text: hmac.digest(key, text, "sha256")
    guesses = {
        hash_leaf(guess)
        for member in ids
        for guess in (
            member.encode(),
            hmac_of(own_key, member.encode()),
            hmac_of(own_key, b"lethe/member/v1\x00" + member.encode()),
            hmac_of(hmac_of(own_key, b"lethe/member-key/v1\x00" + member.encode()),
                    b"lethe/member/v1\x00" + member.encode()),
        )
    }  # fmt: skip

    assert len(seen) == 3
    assert not seen & guesses
    # The member's own leaf is among the guesses: the attack would have worked on it.
    own_leaf = hash_leaf(hmac_of(own_key, b"lethe/member/v1\x00row-3"))
    assert own_leaf in guesses


def test_members_do_not_stand_in_the_order_of_their_ids() -> None:
    ids = [f"row-{number:03}" for number in range(200)]
    committed = CommittedList(ids, KEY)
    places = [committed.prove(member).index for member in ids]

    assert sorted(places) == list(range(200))
    rising = sum(first < second for first, second in pairwise(places))
    # In a random order about half of 199 neighbours rise, with a standard error of 4.
    assert 60 < rising < 140
