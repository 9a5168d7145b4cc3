"""Canonical JSON: RFC 8785's own examples, an independent encoder, and what is refused."""

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.encoding import Json, decode, encode, from_base64, parse, to_base64
from app.ledger.errors import LedgerError, MalformedJson

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
DOCUMENTS: st.SearchStrategy[Json] = st.recursive(
    TEXTS | INTEGERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def test_strings_are_escaped_as_in_section_3_2_2() -> None:
    document = parse(rb'{"string": "\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/"}')

    assert encode(document) == '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()


def test_members_are_sorted_as_in_section_3_2_3() -> None:
    document = parse(
        rb'{"\u20ac": "Euro Sign", "\r": "Carriage Return",'
        rb' "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",'
        rb' "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",'
        rb' "\u00f6": "Latin Small Letter O With Diaeresis"}'
    )
    written = decode(encode(document))

    assert isinstance(written, dict)
    assert [value.split()[0] for value in written.values()] == [
        "Carriage", "One", "Control", "Latin", "Euro", "Emoji:", "Hebrew",
    ]  # fmt: skip


def test_whitespace_and_order_do_not_matter_to_the_canonical_form() -> None:
    loose = b' { "b" : [ 1 , { "z" : true , "y" : "x" } ] ,\n"a" : { } } '

    assert encode(parse(loose)) == b'{"a":{},"b":[1,{"y":"x","z":true}]}'


@given(DOCUMENTS)
def test_another_encoder_writes_the_same_bytes(document: Json) -> None:
    assert encode(document) == rfc8785.dumps(document)


@given(DOCUMENTS)
def test_reading_what_was_written_gives_the_document(document: Json) -> None:
    assert decode(encode(document)) == document


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nul",
        b"null",
        b"[null]",
        b"1.0",
        b"1e3",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"\\u0062":2}}',
        b'"\\ud800"',
        b'{"\\udc00":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b'"\x00"',
        b"1 2",
        b"'a'",
        b"[1,]",
        b"[" * 100 + b"]" * 100,
        b"[" * 1_000_000,
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse(text)


@pytest.mark.parametrize(
    "text", [b" 1", b"1\n", b"-0", b'{"b":1,"a":1}', b'"\\u0041"', b'"\\/"', b'["a", "b"]']
)
def test_other_spellings_are_not_canonical(text: bytes) -> None:
    parse(text)
    with pytest.raises(MalformedJson):
        decode(text)


@pytest.mark.parametrize("value", [1.0, None, b"a", {1: "a"}, {"a": 2**53}, object(), {1, 2}])
def test_what_has_no_canonical_form_is_not_written(value: object) -> None:
    with pytest.raises(MalformedJson):
        encode(value)  # type: ignore[arg-type]  # the point of the test


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused_by_name(data: bytes) -> None:
    try:
        document = decode(data)
    except LedgerError:
        return
    assert encode(document) == data


@given(st.binary(max_size=40))
def test_base64_has_one_spelling(data: bytes) -> None:
    assert from_base64(to_base64(data)) == data


@pytest.mark.parametrize("text", ["AB==", "AA=", "AAAA=", "A A=", "AA==\n", "-_8=", "ä"])
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_base64(text)
