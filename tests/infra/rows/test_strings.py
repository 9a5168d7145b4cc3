"""Strings packed into arrays behave as the strings they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import PackedStrings
from app.infra.rows.strings import equal_strings, hash_strings

anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# Few different characters, lengths around a word of eight bytes: many near misses.
alike = st.text(st.sampled_from("ab\0é"), max_size=18)


@given(st.lists(anything | alike))
def test_packed_strings_come_back(strings: list[str]) -> None:
    packed = PackedStrings.of(strings)

    assert packed.texts() == strings
    assert packed.joined().tobytes().decode() == "".join(strings)


@given(st.lists(st.tuples(anything | alike, anything | alike)))
def test_comparison_is_that_of_python(pairs: list[tuple[str, str]]) -> None:
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))

    equal = equal_strings(PackedStrings.of(left), PackedStrings.of(right))

    assert equal.tolist() == [a == b for a, b in pairs]


@given(st.lists(anything | alike, min_size=1), st.integers(0, 2**63 - 1))
def test_a_hash_depends_on_the_string_alone(strings: list[str], seed: int) -> None:
    together = hash_strings(PackedStrings.of(strings), seed)
    alone = [hash_strings(PackedStrings.of([string]), seed)[0] for string in strings]

    assert together.tolist() == alone


@given(st.lists(anything, min_size=1), st.data())
def test_taken_strings_can_be_joined_in_another_order(
    strings: list[str], data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, len(strings) - 1)))

    taken = PackedStrings.of(strings).take(np.array(places, np.int64))

    assert taken.joined().tobytes().decode() == "".join(strings[place] for place in places)


def test_hashes_of_counted_names_spread_over_buckets() -> None:
    names = PackedStrings.of([f"s{number:012d}" for number in range(20_000)])

    for shift in (0, 20, 50):
        buckets = (hash_strings(names, 1) >> np.uint64(shift)).astype(np.int64) & 1023
        counts = np.bincount(buckets, minlength=1024)
        # 20,000 throws into 1,024 buckets: chi-square of 1,023 degrees, mean 1,023, deviation 45.
        chi_square = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert 1023 - 6 * 45 < chi_square < 1023 + 6 * 45
