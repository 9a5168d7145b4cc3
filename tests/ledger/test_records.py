"""Records are read strictly; statements and entries are written as they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytest

from app.ledger.certificates import Certificate
from app.ledger.encoding import Json, decode, encode
from app.ledger.entries import Entry, plain
from app.ledger.errors import LedgerError, MalformedJson, MalformedRecord, MalformedStatement
from app.ledger.records import AtLeast, Moment, Name, read_record, write_record
from app.ledger.statements import STATEMENT_TYPE, Statement
from tests.ledger.case import BuiltLog, certificate, entry, facts


@dataclass(frozen=True)
class Inner:
    at: Moment


@dataclass(frozen=True)
class Outer:
    name: Name
    count: Annotated[int, AtLeast(2)]
    kind: Literal["a", "b"]
    flag: bool
    inners: tuple[Inner, ...]
    by_name: Mapping[Name, int]
    anything: object
    maybe: Inner | None = None
    perhaps: Name | None = None


GOOD: dict[str, object] = {
    "name": "x",
    "count": 2,
    "kind": "a",
    "flag": True,
    "inners": [{"at": "2026-02-28T23:59:59.123456Z"}],
    "by_name": {"y": 1},
    "anything": [{"deep": ["er"]}],
}


def test_a_record_is_read_and_written_back() -> None:
    record = read_record(Outer, GOOD)

    assert record.inners == (Inner("2026-02-28T23:59:59.123456Z"),)
    assert (record.maybe, record.perhaps) == (None, None)
    assert write_record(record) == GOOD
    full = {**GOOD, "maybe": {"at": "2026-02-28T00:00:00Z"}, "perhaps": "z"}
    assert write_record(read_record(Outer, full)) == full


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a b"}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"name": 1}, "/name"),
        ({"count": 1}, "/count"),
        ({"count": True}, "/count"),
        ({"count": "2"}, "/count"),
        ({"kind": "c"}, "/kind"),
        ({"kind": 1}, "/kind"),
        ({"kind": ["a"]}, "/kind"),
        ({"flag": 1}, "/flag"),
        ({"inners": {}}, "/inners"),
        ({"inners": [{}]}, "/inners/0/at"),
        ({"inners": [{"at": "2026-02-29T00:00:00Z"}]}, "/inners/0/at"),
        ({"inners": [{"at": "2026-02-28T24:00:00Z"}]}, "/inners/0/at"),
        ({"inners": [{"at": "2026-02-28T00:00:00+00:00"}]}, "/inners/0/at"),
        ({"inners": [{"at": "2026-02-28T00:00:00Z", "zone": "Z"}]}, "/inners/0"),
        ({"by_name": []}, "/by_name"),
        ({"by_name": {"y": "1"}}, "/by_name/*"),
        ({"by_name": {"": 1}}, "/by_name"),
        ({"maybe": []}, "/maybe"),
        ({"perhaps": 1}, "/perhaps"),
        ({"unknown": 1}, ""),
    ],
)
def test_the_place_of_a_fault_is_named(change: dict[str, object], pointer: str) -> None:
    with pytest.raises(MalformedRecord) as caught:
        read_record(Outer, {**GOOD, **change})
    assert caught.value.pointer == pointer


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_member_is_named(name: str) -> None:
    document = {key: value for key, value in GOOD.items() if key != name}

    with pytest.raises(MalformedRecord, match=f"^/{name}: is missing$"):
        read_record(Outer, document)


def test_errors_do_not_repeat_what_they_refuse() -> None:
    for change in ({"name": "alice smith"}, {"by_name": {"alice smith": "x"}}, {"alice": 1}):
        with pytest.raises(MalformedRecord) as caught:
            read_record(Outer, {**GOOD, **change})
        assert "alice" not in str(caught.value)


def made() -> Certificate:
    return certificate(facts(BuiltLog()), 8)


def test_a_certificate_is_read_back_from_its_statement() -> None:
    statement = made().statement()

    assert Certificate.parse(bytes(statement)) == made()
    assert Statement.parse(bytes(statement)) == statement
    document = decode(bytes(statement))
    assert isinstance(document, dict)
    assert document["_type"] == STATEMENT_TYPE == "https://in-toto.io/Statement/v1"


def edited(change: Callable[[dict], object]) -> bytes:
    document = decode(bytes(made().statement()))
    assert isinstance(document, dict)
    change(document)
    return encode(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda document: document.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda document: document.update(predicateType=1),
        lambda document: document.update(predicate=[]),
        lambda document: document.update(subject=[]),
        lambda document: document.update(subject="a"),
        lambda document: document.update(more=1),
        lambda document: document.pop("subject"),
        lambda document: document["subject"][0].pop("digest"),
        lambda document: document["subject"][0]["digest"].update(md5="00"),
        lambda document: document["subject"][0]["digest"].update(sha256="0" * 64),
        lambda document: document["subject"].append(document["subject"][0]),
        lambda document: document["predicate"].pop("log"),
        lambda document: document["predicate"].update(conforms_to_law=True),
        lambda document: document["predicate"]["targets"][0]["run"].update(verdict="erased"),
        lambda document: document["predicate"]["request"]["counts"].update(samples=-1),
    ],
)
def test_what_is_no_certificate_is_refused(change: Callable[[dict], object]) -> None:
    with pytest.raises(MalformedStatement):
        Certificate.parse(edited(change))


def test_a_statement_in_another_layout_is_refused() -> None:
    with pytest.raises(MalformedStatement):
        Certificate.parse(bytes(made().statement()) + b"\n")


def test_no_certificate_claims_to_satisfy_a_law() -> None:
    text = bytes(made().statement()).decode().lower()

    assert "does not judge what any law requires" in text
    assert not any(word in text for word in ("complian", "as the law requires", "guaranteed"))


def test_an_entry_is_read_back_from_its_leaf() -> None:
    logged = entry(3, "version.live", sha256="0" * 64, rows=2, nested={"gates": ["0.02"]})

    assert Entry.parse(bytes(logged)) == logged
    assert b"null" not in bytes(logged)


@pytest.mark.parametrize("facts", [{"value": 0.5}, {"value": None}, {"value": "x" * 65_536}])
def test_an_entry_that_cannot_be_a_leaf_is_not_written(facts: dict[str, object]) -> None:
    with pytest.raises(MalformedJson):
        bytes(replace(entry(3, "a"), facts=facts))


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        bytes(entry(3, "a")) + b" ",
        bytes(replace(entry(3, "a"), v=2)),
        bytes(entry(3, "a")).replace(b'"ten_x"', b'"ten x"'),
        b'"' + b"x" * 65_536 + b'"',
    ],
)
def test_what_is_no_entry_is_refused(leaf: bytes) -> None:
    with pytest.raises(LedgerError):
        Entry.parse(leaf)


def test_facts_are_made_plain() -> None:
    document = {
        "float": 0.1,
        "small": 1e-5,
        "none": None,
        "list": (1, None, [2.0]),
        "odd": [float("nan"), float("inf"), float("-inf")],
        "flag": True,
    }
    expected: Json = {
        "float": "0.1",
        "small": "1e-05",
        "list": [1, "none", ["2.0"]],
        "odd": ["nan", "inf", "-inf"],
        "flag": True,
    }

    assert plain(document) == expected
    assert decode(encode(plain(document))) == expected
    with pytest.raises(MalformedJson):
        plain({"bytes": b"x"})
