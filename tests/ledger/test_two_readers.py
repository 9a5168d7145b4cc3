"""The library and the verifier share no code, and read the same texts as the same things."""

import json
from collections.abc import Callable
from hashlib import sha256

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ledger import verify
from app.ledger.certificates import Certificate
from app.ledger.checkpoints import Checkpoint
from app.ledger.encoding import decode, encode
from app.ledger.entries import Entry
from app.ledger.envelopes import Envelope
from app.ledger.errors import LedgerError
from app.ledger.notes import Note, VerifierKey
from app.ledger.proofs import LogProof
from tests.ledger.case import LOG, WITNESSES, good_case
from tests.ledger.test_fuzz import SCALARS, edits, places

FILES = good_case().files
PAYLOAD = Envelope.parse(FILES["certificate.dsse.json"]).payload
LEAF = FILES["certificate.leaf.json"]
CANONICAL = st.recursive(
    st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def accepts(read: Callable[[], object]) -> bool:
    """Whether a reader takes a text; anything but its own refusal fails the test."""
    try:
        read()
    except (LedgerError, verify.Refused) as error:
        return "Contradiction" in str(error)
    return True


@given(CANONICAL)
def test_documents_are_written_as_by_a_third_library(document: object) -> None:
    written = verify.canonical(document)

    assert written == encode(document) == rfc8785.dumps(document)  # type: ignore[arg-type]


def certificate_is_taken(data: bytes) -> bool:
    """Whether the verifier takes it for one; the library has to agree."""
    taken = accepts(lambda: verify.read_certificate(data))
    assert taken == accepts(lambda: Certificate.parse(data))
    return taken


def entry_is_taken(data: bytes) -> bool:
    """Whether the verifier takes it for one; the library has to agree."""

    def ours() -> None:
        entry = verify.parse(data, "entry", "MalformedEntry")
        verify.require(entry["v"] == 1, "MalformedEntry", "another version")

    taken = accepts(ours)
    assert taken == accepts(lambda: Entry.parse(data))
    return taken


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([PAYLOAD, LEAF]).flatmap(edits) | st.binary(max_size=20))
def test_edited_documents_are_read_by_both_or_neither(data: bytes) -> None:
    if certificate_is_taken(data) or entry_is_taken(data):
        assert encode(decode(data)) == data


@settings(max_examples=400, deadline=None)
@given(st.data(), SCALARS | st.just({}) | st.just([]) | st.just({"a": 1}))
def test_any_value_anywhere_is_taken_by_both_or_neither(data: st.DataObject, value: object) -> None:
    is_leaf = data.draw(st.booleans())
    document = json.loads(LEAF if is_leaf else PAYLOAD)
    path = data.draw(st.sampled_from([path for path in places(document) if path]))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if value is None and data.draw(st.booleans()):
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    changed = text.encode("utf-8", "surrogatepass")

    if is_leaf:
        entry_is_taken(changed)
    else:
        certificate_is_taken(changed)


@settings(max_examples=300, deadline=None)
@given(edits(FILES["checkpoint.txt"]))
def test_checkpoints_are_read_by_both_or_neither(data: bytes) -> None:
    def theirs() -> None:
        Checkpoint.parse(Note.parse(data).text)

    assert accepts(theirs) == accepts(lambda: verify.Checkpoint.parse(data))


@settings(max_examples=300, deadline=None)
@given(edits(FILES["certificate.tlog-proof"]))
def test_proofs_are_read_alike(data: bytes) -> None:
    if not accepts(lambda: verify.read_proof(data)):
        return
    index, hashes, checkpoint = verify.read_proof(data)

    assert LogProof.parse(data) == LogProof(index, tuple(hashes), checkpoint)


@settings(max_examples=300, deadline=None)
@given(edits(str(LOG.key).encode()) | edits(str(WITNESSES[0].key).encode()))
def test_keys_are_read_by_both_or_neither(data: bytes) -> None:
    text = data.decode(errors="replace")
    ours = accepts(lambda: verify.Key.parse(text))

    assert ours == accepts(lambda: VerifierKey.parse(text))
    if ours:
        assert verify.Key.parse(text)[:3] == tuple(vars(VerifierKey.parse(text)).values())


def test_the_good_certificate_states_the_digest_that_is_logged() -> None:
    facts = verify.parse(LEAF, "entry", "MalformedEntry")["facts"]

    assert facts["certificate_sha256"] == sha256(PAYLOAD).hexdigest()
