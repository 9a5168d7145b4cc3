"""Trees and proofs: public roots, the definition written out, all small trees, another library."""

import random
from functools import cache
from hashlib import sha256

import pymerkle
import pytest

from app.ledger import merkle, verify
from app.ledger.consistency import verify_consistency
from app.ledger.errors import BadConsistency, BadInclusion, OutOfRange
from app.ledger.inclusion import verify_inclusion
from app.ledger.merkle import Frontier, MemoryTree, Node
from app.ledger.tree_hash import EMPTY_ROOT, hash_children, hash_leaf

# The eight leaves of Certificate Transparency's tests, and how the roots of their trees begin.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c442", "6e340b9c", "fac54203", "aeb6bcfe", "d37ee418",
    "4e3bbb1f", "76e67dad", "ddb89be4", "5dc9da79",
]  # fmt: skip
LARGEST = 256
LEAVES = [hash_leaf(index.to_bytes(2, "big")) for index in range(LARGEST)]
TREE = MemoryTree(LEAVES)


@cache
def defined_root(start: int, stop: int) -> bytes:
    """MTH of RFC 6962, section 2.1, written as it stands there, over ``LEAVES``."""
    if start == stop:
        return sha256(b"").digest()
    if stop - start == 1:
        return sha256(b"\x00" + start.to_bytes(2, "big")).digest()
    split = 1
    while split * 2 < stop - start:
        split *= 2
    left, right = defined_root(start, start + split), defined_root(start + split, stop)
    return sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(9))
def test_roots_of_certificate_transparency(size: int) -> None:
    tree = MemoryTree(hash_leaf(leaf) for leaf in CT_LEAVES[:size])

    assert tree.root().hex().startswith(CT_ROOTS[size])


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert MemoryTree().root() == Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


def test_every_root_is_the_one_defined() -> None:
    for size in range(LARGEST + 1):
        assert TREE.root(size) == defined_root(0, size)


def test_every_leaf_is_proved_in_every_tree() -> None:
    """To the library, and to the verifier, which shares no code with it."""
    for size in range(1, LARGEST + 1):
        root = TREE.root(size)
        for index in range(size):
            proof = merkle.prove_inclusion(index, size, TREE.read)
            verify_inclusion(
                index=index, size=size, leaf_hash=LEAVES[index], proof=proof, root=root
            )
            verify.verify_inclusion(index, size, LEAVES[index], proof, root)


def test_every_tree_is_proved_to_continue_every_smaller_one() -> None:
    """To both."""
    roots = [TREE.root(size) for size in range(LARGEST + 1)]
    for later_size in range(1, LARGEST + 1):
        for size in range(1, later_size + 1):
            proof = merkle.prove_consistency(size, later_size, TREE.read)
            verify_consistency(
                size=size,
                root=roots[size],
                later_size=later_size,
                later_root=roots[later_size],
                proof=proof,
            )
            verify.verify_consistency(size, roots[size], later_size, roots[later_size], proof)


def test_sampled_proofs_up_to_ten_thousand_leaves() -> None:
    leaves = [hash_leaf(index.to_bytes(4, "big")) for index in range(10_000)]
    tree = MemoryTree(leaves)
    chance = random.Random(6962)
    for _ in range(300):
        later_size = chance.randint(1, len(leaves))
        size, index = chance.randint(1, later_size), chance.randrange(later_size)
        root = tree.root(later_size)
        verify_inclusion(
            index=index,
            size=later_size,
            leaf_hash=leaves[index],
            proof=merkle.prove_inclusion(index, later_size, tree.read),
            root=root,
        )
        verify_consistency(
            size=size,
            root=tree.root(size),
            later_size=later_size,
            later_root=root,
            proof=merkle.prove_consistency(size, later_size, tree.read),
        )


def test_a_proof_of_one_leaf_shows_no_other() -> None:
    for size in range(1, 18):
        root = TREE.root(size)
        for index in range(size):
            proof = merkle.prove_inclusion(index, size, TREE.read)
            for other in range(size + 2):
                for leaf in range(size):
                    if (other, leaf) == (index, index):
                        continue
                    with pytest.raises(BadInclusion):
                        verify_inclusion(
                            index=other, size=size, leaf_hash=LEAVES[leaf], proof=proof, root=root
                        )


def test_a_proof_of_consistency_shows_no_other_pair() -> None:
    roots = [TREE.root(size) for size in range(18)]
    for later_size in range(1, 17):
        for size in range(1, later_size + 1):
            proof = merkle.prove_consistency(size, later_size, TREE.read)
            for other in range(18):
                for other_later in range(18):
                    if (other, other_later) == (size, later_size):
                        continue
                    if other == other_later and size == later_size:
                        continue  # Equal sizes need no proof; every tree continues itself.
                    with pytest.raises(BadConsistency):
                        verify_consistency(
                            size=other,
                            root=roots[other],
                            later_size=other_later,
                            later_root=roots[other_later],
                            proof=proof,
                        )


def test_appending_one_by_one_or_in_batches_stores_the_same_nodes() -> None:
    one_by_one: dict[Node, bytes] = {}
    frontier = Frontier()
    for leaf in LEAVES[:100]:
        frontier, complete = frontier.extended([leaf])
        one_by_one |= complete
    first, nodes = Frontier().extended(LEAVES[:37])
    second, more = first.extended(LEAVES[37:100])

    assert one_by_one == nodes | more
    assert frontier == second
    assert len(one_by_one) < 2 * 100


def test_a_stored_tree_is_continued_where_it_ends() -> None:
    for size in range(LARGEST + 1):
        frontier = Frontier.stored(size, TREE.read)

        assert (frontier.size, frontier.root()) == (size, TREE.root(size))
        extended, _ = frontier.extended(LEAVES[size:])
        assert extended.root() == TREE.root()


def test_a_proof_in_ten_million_leaves_reads_at_most_48_nodes_and_has_at_most_24_hashes() -> None:
    chance = random.Random(9162)
    for size in (10_000_000, 2**23 + 1, 2**23 - 1):
        for index in (0, size - 1, *(chance.randrange(size) for _ in range(50))):
            spans = merkle.inclusion_path(index, size)

            assert len(spans) <= 24
            assert sum(len(merkle.tiling(span)) for span in spans) <= 48
        spans = merkle.consistency_path(chance.randrange(1, size), size)
        assert sum(len(merkle.tiling(span)) for span in spans) <= 48


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 4), (4, 4)])
def test_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(OutOfRange):
        merkle.prove_inclusion(index, size, TREE.read)


@pytest.mark.parametrize(("size", "later_size"), [(0, 4), (5, 4), (-1, 1), (300, 301)])
def test_no_proof_between_trees_that_are_not_there(size: int, later_size: int) -> None:
    with pytest.raises(OutOfRange):
        merkle.prove_consistency(size, later_size, TREE.read)


@pytest.fixture(scope="module")
def second_library() -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(70):
        tree.append_entry(index.to_bytes(2, "big"))
    return tree


def test_another_library_gives_our_inclusion_proofs_and_accepts_them(
    second_library: pymerkle.InmemoryTree,
) -> None:
    for size in range(1, 71):
        root = second_library.get_root(size)
        for index in range(size):
            theirs = second_library.prove_inclusion(index + 1, size)
            ours = merkle.prove_inclusion(index, size, TREE.read)

            assert ours == theirs.path[1:]
            verify_inclusion(
                index=index, size=size, leaf_hash=LEAVES[index], proof=theirs.path[1:], root=root
            )
            theirs.path[1:] = ours
            pymerkle.verify_inclusion(LEAVES[index], TREE.root(size), theirs, index + 1, size)


def test_another_library_gives_our_consistency_proofs_and_accepts_them(
    second_library: pymerkle.InmemoryTree,
) -> None:
    for later_size in range(1, 71):
        root = TREE.root(later_size)
        for size in range(1, later_size + 1):
            theirs = second_library.prove_consistency(size, later_size)
            ours = merkle.prove_consistency(size, later_size, TREE.read)

            assert ours == as_in_the_rfc(theirs, size)
            verify_consistency(
                size=size,
                root=second_library.get_root(size),
                later_size=later_size,
                later_root=second_library.get_root(later_size),
                proof=as_in_the_rfc(theirs, size),
            )
            pymerkle.verify_consistency(TREE.root(size), root, theirs, size, later_size)


def as_in_the_rfc(proof: pymerkle.ConsistencyProof, size: int) -> list[bytes]:
    """Join what the other library splits to the leaf, and leave out a root that is a node.

    Its path begins with the parts of the first node behind the earlier tree; RFC 9162 gives
    that node whole, after the last complete subtree of the earlier tree.
    """
    if proof.size == size:
        return []
    split = proof.subset.index(1)
    joined = proof.path[0]
    for bit, part in zip(proof.rule[: split - 1], proof.path[1:split], strict=True):
        joined = hash_children(part, joined) if bit else hash_children(joined, part)
    is_node = size & (size - 1) == 0
    return [*([] if is_node else [proof.path[split]]), joined, *proof.path[split + 1 :]]
