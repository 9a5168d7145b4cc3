"""All 196 cases of the public suite are decided right."""

import pytest

from app.ledger.consistency import verify_consistency
from app.ledger.errors import BadConsistency, BadInclusion
from app.ledger.inclusion import verify_inclusion
from tests.ledger.wrong_proofs import Consistency, Inclusion, consistency_cases, inclusion_cases


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
    def check() -> None:
        verify_inclusion(
            index=case.index, size=case.size, leaf_hash=case.leaf, proof=case.proof, root=case.root
        )

    if case.right:
        check()
    else:
        with pytest.raises(BadInclusion):
            check()


@pytest.mark.parametrize("case", consistency_cases(), ids=lambda case: case.name)
def test_consistency(case: Consistency) -> None:
    def check() -> None:
        verify_consistency(
            size=case.size,
            root=case.root,
            later_size=case.later_size,
            later_root=case.later_root,
            proof=case.proof,
        )

    if case.right:
        check()
    else:
        with pytest.raises(BadConsistency):
            check()
