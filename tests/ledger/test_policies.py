"""Whom to trust, read from a file: C2SP's rules, one refusal for each."""

from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.errors import MalformedPolicy
from app.ledger.policies import Policy
from app.ledger.signers import Signer, Witness
from app.ledger.trust import Quorum
from tests.ledger.case import private_key

LOG = Signer("log.example", private_key(1)).key
X1, X2, X3, Y1, Y2, Y3 = (Witness(f"{n}.example", private_key(n)).key for n in range(21, 27))
LINES = f"""
# The example of the specification.
log {LOG}

witness X1 {X1}
witness X2 {X2}
witness X3 {X3}
group X-witnesses 2 X1 X2 X3

\twitness   Y1\t{Y1}\thttps://y1.example/w
witness Y2 {Y2}
witness Y3 {Y3}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def policy(text: str) -> Policy:
    return Policy.parse(text.encode())


def test_the_example_of_the_specification_is_met_by_exactly_its_subsets() -> None:
    read = policy(LINES)
    assert [log.key for log in read.logs] == [LOG]
    assert [witness.key for witness in read.witnesses.values()] == [X1, X2, X3, Y1, Y2, Y3]
    assert read.witnesses["Y1"].url == "https://y1.example/w"
    assert read.witnesses["X1"].url is None

    xs, ys = {X1, X2, X3}, {Y1, Y2, Y3}
    for count in range(7):
        for chosen in map(set, combinations([*xs, *ys], count)):
            wanted = len(chosen & xs) >= 2 and len(chosen & ys) >= 1
            assert read.quorum.is_met(key.public for key in chosen) is wanted


@pytest.mark.parametrize(
    ("end", "met_by_none", "met_by_one"),
    [("quorum none", True, True), ("quorum a", False, True),
     ("group g 1 a\nquorum g", False, True), ("group g all a\nquorum g", False, True)],
)  # fmt: skip
def test_small_quorums(end: str, met_by_none: bool, met_by_one: bool) -> None:
    quorum = policy(f"witness a {X1}\n{end}\n").quorum

    assert (quorum.is_met([]), quorum.is_met([X1.public])) == (met_by_none, met_by_one)
    assert quorum.is_met([X2.public]) is met_by_none


def test_names_are_octets() -> None:
    read = Policy.parse(b"witness \xff\xfe " + str(X1).encode() + b"\nquorum \xff\xfe\n")

    assert read.quorum == Quorum.of(1, [X1])


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log {LOG}\n",
        "quorum\n",
        "quorum a b\n",
        "quorum a\n",
        "quorum none\nquorum none\n",
        f"quorum a\nwitness a {X1}\n",
        f"log {X1}\nquorum none\n",
        f"log {LOG} url more\nquorum none\n",
        f"log {LOG}\nlog {LOG}\nquorum none\n",
        f"log {LOG}\nlog {Signer('renamed.example', private_key(1)).key}\nquorum none\n",
        f"witness a {LOG}\nquorum none\n",
        "witness a nonsense\nquorum none\n",
        f"witness none {X1}\nquorum none\n",
        f"witness a {X1}\nwitness a {X2}\nquorum none\n",
        f"witness a {X1}\nwitness b {X1}\nquorum none\n",
        f"witness a {X1}\ngroup a any a\nquorum a\n",
        f"witness a {X1}\ngroup g any\nquorum g\n",
        f"witness a {X1}\ngroup g 0 a\nquorum g\n",
        f"witness a {X1}\ngroup g 2 a\nquorum g\n",
        f"witness a {X1}\ngroup g 01 a\nquorum g\n",
        f"witness a {X1}\ngroup g -1 a\nquorum g\n",
        f"witness a {X1}\ngroup g some a\nquorum g\n",
        f"witness a {X1}\ngroup g any b\nquorum g\n",
        f"witness a {X1}\ngroup g any g\nquorum g\n",
        f"witness a {X1}\ngroup g any none\nquorum g\n",
        f"witness a {X1}\ngroup g 2 a a\nquorum g\n",
        f"witness a {X1}\ngroup g any a\ngroup h any a\nquorum g\n",
        f"witnesses a {X1}\nquorum none\n",
        "quorum none\r\n",
        "quorum\x0bnone\n",
        "#" * (1 << 16) + "\nquorum none\n",
    ],
)
def test_what_contradicts_the_rules_is_refused(text: str) -> None:
    with pytest.raises(MalformedPolicy):
        policy(text)


@given(st.binary(max_size=200) | st.lists(st.sampled_from(LINES.split()), max_size=12).map(
    lambda words: " ".join(words).replace(" quorum", "\nquorum").encode()
))  # fmt: skip
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    with suppress(MalformedPolicy):
        Policy.parse(data)
