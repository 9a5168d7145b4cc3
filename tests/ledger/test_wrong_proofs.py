"""All 196 cases of the public suite are decided right."""

from contextlib import nullcontext

import pytest

from app.ledger import verify
from app.ledger.consistency import verify_consistency
from app.ledger.errors import BadConsistency, BadInclusion
from app.ledger.inclusion import verify_inclusion
from app.ledger.verify import Refused
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
