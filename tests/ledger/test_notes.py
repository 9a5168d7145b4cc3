"""Signed notes and checkpoints: the published examples, and what is refused."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from app.ledger.checkpoints import Checkpoint, cosigned_at, verify_quorum
from app.ledger.errors import (
    BadSignature,
    LedgerError,
    MalformedCheckpoint,
    MalformedKey,
    MalformedNote,
    MalformedProof,
    QuorumMissed,
    UnknownKey,
)
from app.ledger.notes import (
    COSIGNATURE,
    ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    verify_note,
)
from app.ledger.proofs import LogProof
from app.ledger.signers import Signer, Witness
from app.ledger.trust import Quorum

# The examples of C2SP's signed-note, tlog-checkpoint and tlog-cosignature.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppz"
    "i2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouF"
    "SQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
).encode()
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcy"
    "v2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3"
    "b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()
# RFC 8032, section 7.1, tests 1 to 3: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = Signer("log.example", PRIVATE)
CHECKPOINT = Checkpoint("log.example", 7, bytes(32))
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_keys_sign_and_verify_as_in_rfc_8032(
    secret: str, public: str, message: str, signature: str
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    key = Signer("a", private).key

    assert key.public.hex() == public
    assert private.sign(bytes.fromhex(message)).hex() == signature
    key.verify(bytes.fromhex(message), bytes.fromhex(signature))
    with pytest.raises(BadSignature):
        key.verify(bytes.fromhex(message) + b"x", bytes.fromhex(signature))


def test_a_signature_is_not_accepted_in_a_second_form() -> None:
    _, public, message, signature = RFC_8032[1]
    order = 2**252 + 27742317777372353535851937790883648493
    blob = bytes.fromhex(signature)
    larger = int.from_bytes(blob[32:], "little") + order
    key = VerifierKey("a", ED25519, bytes.fromhex(public))

    with pytest.raises(BadSignature):
        key.verify(bytes.fromhex(message), blob[:32] + larger.to_bytes(32, "little"))


def test_the_example_note_verifies() -> None:
    key = VerifierKey.parse(EXAMPLE_KEY)

    assert (str(key), key.name, key.type) == (EXAMPLE_KEY, "example.com/foo", ED25519)
    verify_note(Note.parse(EXAMPLE_NOTE), [key])
    with pytest.raises(BadSignature):
        verify_note(Note.parse(EXAMPLE_NOTE.replace(b"an", b"no")), [key])


@pytest.mark.parametrize("example", [EXAMPLE_NOTE, POEM, COSIGNED])
def test_examples_are_written_as_they_were_read(example: bytes) -> None:
    assert bytes(Note.parse(example)) == example


def test_the_text_reaches_to_the_last_empty_line() -> None:
    assert Note.parse(POEM).text.endswith("sole:\n\ned è subito sera.\n")


def test_the_example_checkpoint_is_read() -> None:
    note = Note.parse(COSIGNED)
    checkpoint = Checkpoint.parse(note.text)

    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert str(checkpoint) == note.text
    # What the specification says of the time in the witness's signature.
    assert int.from_bytes(note.signatures[1].blob[:8], "big") == 1679315147


def test_signatures_of_unknown_keys_are_ignored() -> None:
    note = LOG.sign_checkpoint(CHECKPOINT)
    other = VerifierKey("other.example", ED25519, LOG.key.public)
    foreign = NoteSignature("other.example", b"abcd", b"anything")
    same_name = NoteSignature("log.example", b"abcd", bytes(64))
    same_id = NoteSignature("else.example", LOG.key.id, bytes(64))

    verify_note(
        replace(note, signatures=(foreign, same_name, same_id, *note.signatures)), [LOG.key]
    )
    with pytest.raises(UnknownKey):
        verify_note(note, [other])
    with pytest.raises(UnknownKey):
        verify_note(note, [])


def test_one_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    note = LOG.sign_checkpoint(CHECKPOINT)
    wrong = replace(note.signatures[0], blob=bytes(64))

    for signatures in ((*note.signatures, wrong), (wrong, *note.signatures)):
        with pytest.raises(BadSignature):
            verify_note(replace(note, signatures=signatures), [LOG.key])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        b"text\n\n- a AAAAAAA=\n",
        "text\n\n— a\n".encode(),
        "text\n\n— a AAAA\n".encode(),
        "text\n\n— a AAAAAAB=\n".encode(),
        "text\n\n— a+b AAAAAAA=\n".encode(),
        "text\n\n— a\u2003b AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAAA=".encode(),
        "text\r\n\n— a AAAAAAA=\n".encode(),
        "te\txt\n\n— a AAAAAAA=\n".encode(),
        "text\n\n— a AAAAAAA=\n\n— b AAAA\n".encode(),
        "text\n\n— a AAAAAAA=\ngarbage\n".encode(),
        b"\xff\n\n\xe2\x80\x94 a AAAAAAA=\n",
        b"x" * (1 << 18) + "\n\n— a AAAAAAA=\n".encode(),
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedNote):
        Note.parse(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("foo", "f o"),
        EXAMPLE_KEY + "\n",
        EXAMPLE_KEY[:-1],
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "a+00000000+AQ==",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(MalformedKey):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n\u0661\n" + "A" * 43 + "=\n",
        "a\n1_0\n" + "A" * 43 + "=\n",
        f"a\n{2**63}\n" + "A" * 43 + "=\n",
        "a\n1\nAAAA\n",
        "a\n1\n" + "A" * 43 + "\n",
        "a\n1\n" + "A" * 43 + "=\nextension\n",
        "a\n1\n" + "A" * 43 + "=",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedCheckpoint):
        Checkpoint.parse(text)


def test_a_cosignature_covers_time_and_checkpoint() -> None:
    witness = Witness("w.example", PRIVATE)
    line = witness.cosign(CHECKPOINT, NOW)
    note = Note(str(CHECKPOINT), (line,))

    assert cosigned_at(note, witness.key) == NOW
    PRIVATE.public_key().verify(
        line.blob[8:], f"cosignature/v1\ntime {int(NOW.timestamp())}\n{CHECKPOINT}".encode()
    )
    later = replace(line, blob=(int(NOW.timestamp()) + 1).to_bytes(8, "big") + line.blob[8:])
    with pytest.raises(BadSignature):
        cosigned_at(replace(note, signatures=(later,)), witness.key)
    with pytest.raises(BadSignature):
        cosigned_at(replace(note, text=str(replace(CHECKPOINT, size=8))), witness.key)
    never = replace(line, blob=b"\xff" * 72)
    with pytest.raises(BadSignature):
        cosigned_at(replace(note, signatures=(never,)), witness.key)


def test_a_log_does_not_witness_itself() -> None:
    witness = Witness("log.example", PRIVATE)
    note = LOG.sign_checkpoint(CHECKPOINT)

    assert witness.key.id != LOG.key.id
    with pytest.raises(QuorumMissed):
        verify_quorum(note, [witness.key, LOG.key], Quorum.of(1, [witness.key, LOG.key]))
    with pytest.raises(UnknownKey):
        verify_note(Note(note.text, (witness.cosign(CHECKPOINT, NOW),)), [LOG.key, witness.key])


def test_one_key_under_two_names_counts_once() -> None:
    names = [Witness("w1.example", PRIVATE), Witness("w2.example", PRIVATE)]
    note = Note(str(CHECKPOINT), tuple(name.cosign(CHECKPOINT, NOW) for name in names))
    keys = [name.key for name in names]

    verify_quorum(note, keys, Quorum.of(1, keys))
    with pytest.raises(QuorumMissed) as caught:
        verify_quorum(note, keys, Quorum.of(2, keys))
    assert (caught.value.found, caught.value.wanted) == (1, 2)


def test_a_vkey_of_a_witness_is_read_back() -> None:
    key = Witness("w.example", PRIVATE).key

    assert VerifierKey.parse(str(key)) == key
    assert key.type == COSIGNATURE


@pytest.mark.parametrize("extra", [None, b"", b"context"])
@pytest.mark.parametrize("count", [0, 1, 63])
def test_proofs_are_written_as_they_were_read(count: int, extra: bytes | None) -> None:
    proof = LogProof(5, tuple(bytes([n]) * 32 for n in range(count)), EXAMPLE_NOTE, extra)

    assert LogProof.parse(bytes(proof)) == proof


def test_a_proof_looks_as_c2sp_says() -> None:
    proof = bytes(LogProof(73894, (bytes(32),), COSIGNED, b"age"))

    assert proof.decode().split("\n")[:5] == [
        "c2sp.org/tlog-proof@v1", "extra YWdl", "index 73894", "A" * 43 + "=", "",
    ]  # fmt: skip
    assert proof.endswith(b"\n\n" + COSIGNED)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "c2sp.org/tlog-proof@v2\nindex 1",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\nindex",
        "c2sp.org/tlog-proof@v1\nindex 01",
        "c2sp.org/tlog-proof@v1\nindex -1",
        "c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA",
        "c2sp.org/tlog-proof@v1\nextra A\nindex 1",
        "c2sp.org/tlog-proof@v1\nindex 1\nAAAA",
        "c2sp.org/tlog-proof@v1\nindex 1\n" + "A" * 43 + "B",
        "c2sp.org/tlog-proof@v1\r\nindex 1",
        "c2sp.org/tlog-proof@v1\nindex 1" + ("\n" + "A" * 43 + "=") * 64,
    ],
)
def test_what_is_no_proof_is_refused(head: str) -> None:
    with pytest.raises(MalformedProof):
        LogProof.parse(head.encode() + b"\n\n" + COSIGNED)
    with pytest.raises(MalformedProof):
        LogProof.parse(head.encode())


@given(st.binary(max_size=200), st.sampled_from([EXAMPLE_NOTE, COSIGNED]), st.integers(0, 150))
def test_any_bytes_are_read_or_refused_by_name(noise: bytes, example: bytes, place: int) -> None:
    for data in (noise, example[:place] + noise[:3] + example[place:], example[:place]):
        with suppress(LedgerError):
            note = Note.parse(data)
            assert bytes(note) == data
            assert str(Checkpoint.parse(note.text)) == note.text
        with suppress(LedgerError):
            assert bytes(LogProof.parse(data)) == data
