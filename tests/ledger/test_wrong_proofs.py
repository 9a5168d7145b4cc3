"""All 196 cases of the public suite are decided right."""

from contextlib import nullcontext
from hashlib import sha256

import pytest

from app.ledger import verify
from app.ledger.consistency import verify_consistency
from app.ledger.errors import BadConsistency, BadInclusion
from app.ledger.inclusion import verify_inclusion
from app.ledger.merkle import MemoryTree, prove_consistency, prove_inclusion
from app.ledger.verify import Refused
from tests.ledger.wrong_proofs import (
    LEAVES,
    RANDOM,
    Consistency,
    Inclusion,
    consistency_cases,
    inclusion_cases,
)

TREE = MemoryTree(sha256(b"\x00" + leaf).digest() for leaf in LEAVES)


def test_there_are_as_many_cases_as_in_the_public_suite() -> None:
    inclusion, consistency = inclusion_cases(), consistency_cases()

    assert (len(inclusion), len(consistency)) == (98, 98)
    assert len({*(case.name for case in inclusion), *(case.name for case in consistency)}) == 196
    assert [sum(case.right for case in inclusion), sum(case.right for case in consistency)] == [
        6,
        6,
    ]


@pytest.mark.parametrize("case", inclusion_cases(), ids=lambda case: case.name)
def test_inclusion(case: Inclusion) -> None:
    """By the library, and by the verifier, which shares no code with it."""
    for check, error in ((verify_inclusion, BadInclusion), (verify.verify_inclusion, Refused)):
        with nullcontext() if case.right else pytest.raises(error):
            check(
                index=case.index,
                size=case.size,
                leaf_hash=case.leaf,
                proof=case.proof,
                root=case.root,
            )


@pytest.mark.parametrize("case", consistency_cases(), ids=lambda case: case.name)
def test_consistency(case: Consistency) -> None:
    """By both."""
    checks = ((verify_consistency, BadConsistency), (verify.verify_consistency, Refused))
    for check, error in checks:
        with nullcontext() if case.right else pytest.raises(error):
            check(
                size=case.size,
                root=case.root,
                later_size=case.later_size,
                later_root=case.later_root,
                proof=case.proof,
            )


def above(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_a_leaf_of_a_taller_tree_is_refused_although_the_proof_leads_to_its_root(size: int) -> None:
    """A log that signs another size than that of its tree must not gain by it."""
    root = TREE.root(size)
    for index in range(size):
        proof = [*prove_inclusion(index, size, TREE.read), RANDOM]
        for taller in (above(RANDOM, root), above(root, RANDOM)):
            for check, error in (
                (verify_inclusion, BadInclusion),
                (verify.verify_inclusion, Refused),
            ):
                with pytest.raises(error, match="longer than the tree is deep"):
                    check(
                        index=index,
                        size=size,
                        leaf_hash=sha256(b"\x00" + LEAVES[index]).digest(),
                        proof=proof,
                        root=taller,
                    )


@pytest.mark.parametrize("later_size", range(2, 9))
def test_taller_trees_are_refused_although_the_proof_leads_to_their_roots(later_size: int) -> None:
    for size in range(1, later_size):
        root, later = TREE.root(size), TREE.root(later_size)
        proof = [*prove_consistency(size, later_size, TREE.read), RANDOM]
        for roots in ((above(RANDOM, root), above(RANDOM, later)), (root, above(later, RANDOM))):
            for check, error in (
                (verify_consistency, BadConsistency),
                (verify.verify_consistency, Refused),
            ):
                with pytest.raises(error, match="longer than the tree is deep"):
                    check(
                        size=size,
                        root=roots[0],
                        later_size=later_size,
                        later_root=roots[1],
                        proof=proof,
                    )
