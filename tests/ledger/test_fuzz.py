"""Whatever evidence one is handed: the verifier answers, or refuses with an error of its own."""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from app.ledger.certificates import Certificate
from app.ledger.encoding import Json, encode, parse
from app.ledger.envelopes import Envelope
from app.ledger.errors import LedgerError
from app.ledger.statements import PAYLOAD_TYPE
from app.ledger.verify import (
    Expectations,
    Outcome,
    Refused,
    main,
    pack,
    read_keys,
    unpack,
    verify_evidence,
)
from tests.ledger.case import ISSUER, LOG, WITNESS_KEYS, good_case, key_of

CASE = good_case()
FILES = dict(CASE.files)
ARCHIVE = pack(FILES)
PINNED = bytes(CASE.log.note(8))
EXPECTED = Expectations(
    keys=(key_of(LOG), key_of(ISSUER)),
    witnesses=WITNESS_KEYS,
    pinned=PINNED,
    request_id="req_a",
)

JUNK = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\n\n", b"{}", b"[]", b'"', b"\xff", b"null", b"1e999", b"[" * 3000]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("0" * 64)
)
# The writer of other archives cuts names at the first NUL.
NAMES = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@st.composite
def edits(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut, overwrite, double or lengthen a part of some bytes."""
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 80)))
    middle = draw(JUNK | st.just(data[start:stop] * 2))
    return data[:start] + middle + data[stop:]


@st.composite
def edited_evidence(draw: st.DrawFn) -> dict[str, bytes]:
    """The good evidence after up to three edits of files."""
    files = dict(FILES)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        kind = draw(st.sampled_from(["edit", "drop", "copy", "junk"]))
        if kind == "drop" and len(files) > 1:
            del files[name]
        elif kind == "copy":
            files[name] = files[draw(st.sampled_from(sorted(files)))]
        elif kind == "junk":
            files[name] = draw(JUNK)
        else:
            files[name] = draw(edits(files[name]))
    return files


def answered(files: Mapping[str, bytes]) -> bool:
    """Whether the verifier accepts; anything but an error of ours fails the test."""
    try:
        verify_evidence(files, EXPECTED)
    except Refused:
        return False
    return True


# The first two are no evidence, and proofs for other pins are not looked at.
FREE = {"README.txt", "keys.json", "consistency/3.json"}
PROOF = "consistency/8.json"


@settings(max_examples=250, deadline=None)
@given(edited_evidence())
def test_edited_evidence_is_refused_by_name(files: dict[str, bytes]) -> None:
    accepted = answered(files)

    if accepted:
        # The service's proofs of consistency may be laid out in any way.
        files[PROOF] = encode(parse(files[PROOF]))
    unchanged = all(files.get(name) == FILES.get(name) for name in {*files, *FILES} - FREE)
    assert accepted == (unchanged and keys_are_readable(files))


def keys_are_readable(files: Mapping[str, bytes]) -> bool:
    try:
        read_keys(files.get("keys.json", b'{"items":[]}'))
    except Refused:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(edits(ARCHIVE) | st.binary(max_size=200))
def test_edited_archives_are_refused_by_name(data: bytes) -> None:
    try:
        files = unpack(data)
    except Refused:
        return
    assert pack(files) == data


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(FILES)) | NAMES, JUNK, min_size=1, max_size=5),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]),
)
def test_other_archives_are_refused_by_name(files: dict[str, bytes], method: int) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    try:
        unpack(buffer.getvalue())
    except Refused:
        return
    raise AssertionError("an archive that others write was taken for ours")


def places(document: object) -> list[list[str | int]]:
    """Return the path to every value in a document."""
    found: list[list[str | int]] = [[]]
    items = (
        list(document.items())
        if isinstance(document, dict)
        else list(enumerate(document))
        if isinstance(document, list)
        else []
    )
    for key, value in items:
        found += [[key, *path] for path in places(value)]
    return found


STATEMENT = json.loads(Envelope.parse(FILES["certificate.dsse.json"]).payload)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from([path for path in places(STATEMENT) if path]), VALUES)
def test_any_value_anywhere_in_a_signed_statement_is_read_or_refused(
    path: list[str | int], value: object
) -> None:
    statement = json.loads(json.dumps(STATEMENT))
    inner = statement
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    payload = json.dumps(statement, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    signed = ISSUER.sign_envelope(PAYLOAD_TYPE, payload.encode("utf-8", "surrogatepass"))

    accepted = answered({**FILES, "certificate.dsse.json": bytes(signed)})

    assert accepted == (signed.payload == Envelope.parse(FILES["certificate.dsse.json"]).payload)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), JUNK, JUNK)
def test_any_pin_and_proof_from_the_verifier_are_read_or_refused(
    pinned: bytes, consistency: bytes, keys: bytes
) -> None:
    for pin in (pinned, PINNED[: len(pinned)] + pinned):
        expected = Expectations(EXPECTED.keys, pinned=pin, consistency=consistency)
        try:
            verify_evidence(FILES, expected)
        except Refused:
            continue
        raise AssertionError("a pin that no log has signed was accepted")
    try:
        read_keys(keys)
    except Refused:
        return


def test_any_path_is_answered(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"PK\x03\x04junk")
    (tmp_path / "empty").mkdir()
    for name in ("junk", "empty", "absent"):
        assert main([str(tmp_path / name), "--key", str(LOG.key)]) == Outcome.MALFORMED


def test_a_statement_with_a_shape_of_its_own_is_refused() -> None:
    shapes: list[Json] = [{}, [], "a", 1, {"_type": []}, {"predicate": {}}]
    for document in shapes:
        try:
            Certificate.parse(encode(document))
        except LedgerError:
            continue
        raise AssertionError("something else was taken for a certificate")
