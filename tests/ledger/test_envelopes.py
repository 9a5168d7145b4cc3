"""DSSE: the example of the specification, both alphabets, and what is refused."""

import base64
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from app.ledger.envelopes import (
    Envelope,
    EnvelopeSignature,
    pre_authentication_encoding,
    verify_envelope,
)
from app.ledger.errors import BadSignature, MalformedEnvelope, UnknownKey
from app.ledger.signers import Signer

# The example of DSSE 1.0.2's protocol.md.
TYPE, BODY = "http://example.com/HelloWorld", b"hello world"
EXAMPLE = json.dumps({
    "payload": "aGVsbG8gd29ybGQ=",
    "payloadType": TYPE,
    "signatures": [
        {
            "sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJ"
            "PcIAriEGAHTVeCUjW2JIZA=="
        }
    ],
}).encode()
X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820

SIGNER = Signer("a.example", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = Signer("b.example", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))


def test_the_example_is_encoded_and_signed_as_the_specification_says() -> None:
    envelope = Envelope.parse(EXAMPLE)
    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    signature = envelope.signatures[0].signature
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public = ec.EllipticCurvePublicNumbers(X, Y, ec.SECP256R1()).public_key()

    assert message == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    public.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def test_lengths_are_those_of_the_bytes() -> None:
    assert pre_authentication_encoding("ü", b"") == b"DSSEv1 2 \xc3\xbc 0 "


def test_what_was_signed_is_read_back_and_verified() -> None:
    envelope = SIGNER.sign_envelope(TYPE, b"\x00\xff payload")

    assert Envelope.parse(bytes(envelope)) == envelope
    verify_envelope(envelope, [OTHER.key, SIGNER.key])


def test_both_alphabets_are_accepted_and_unknown_members_ignored() -> None:
    envelope = SIGNER.sign_envelope(TYPE, b"\xfb\xff\xfe")
    document = json.loads(bytes(envelope))
    document["payload"] = base64.urlsafe_b64encode(envelope.payload).decode()
    document["later"] = {"version": [1]}
    assert "_" in document["payload"]

    verify_envelope(Envelope.parse(json.dumps(document, indent=1).encode()), [SIGNER.key])


@pytest.mark.parametrize("change", [{"payload": b"other"}, {"payload_type": TYPE + "/"}])
def test_payload_and_type_are_both_signed(change: dict) -> None:
    envelope = SIGNER.sign_envelope(TYPE, BODY)

    with pytest.raises(BadSignature):
        verify_envelope(replace(envelope, **change), [SIGNER.key])


def test_unknown_keys_do_not_count() -> None:
    envelope = SIGNER.sign_envelope(TYPE, BODY)

    for keys in ([], [OTHER.key]):
        with pytest.raises(UnknownKey):
            verify_envelope(envelope, keys)


def test_one_right_signature_among_others_is_enough() -> None:
    right = SIGNER.sign_envelope(TYPE, BODY)
    noise = EnvelopeSignature(bytes(64))
    several = replace(right, signatures=(noise, EnvelopeSignature(b""), *right.signatures))

    verify_envelope(several, [SIGNER.key])
    without_hint = replace(right, signatures=(EnvelopeSignature(right.signatures[0].signature),))
    verify_envelope(without_hint, [OTHER.key, SIGNER.key])


def test_a_hint_narrows_and_never_vouches() -> None:
    right = SIGNER.sign_envelope(TYPE, BODY)
    hint_of_other = OTHER.sign_envelope(TYPE, BODY).signatures[0].key_hint
    misled = replace(right, signatures=(replace(right.signatures[0], key_hint=hint_of_other),))

    with pytest.raises(UnknownKey):
        verify_envelope(misled, [SIGNER.key])
    with pytest.raises(BadSignature):
        verify_envelope(misled, [SIGNER.key, OTHER.key])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"payload":"","payloadType":"a"}',
        b'{"payload":"","payloadType":"a","signatures":[]}',
        b'{"payload":"","payloadType":"a","signatures":[{}]}',
        b'{"payload":"","payloadType":"a","signatures":["a"]}',
        b'{"payload":"","payloadType":"a","signatures":[{"sig":"AA"}]}',
        b'{"payload":"","payloadType":"a","signatures":[{"sig":"","keyid":1}]}',
        b'{"payload":1,"payloadType":"a","signatures":[{"sig":""}]}',
        b'{"payload":"A A=","payloadType":"a","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":1,"signatures":[{"sig":""}]}',
        b'{"payload":"","payload":"","payloadType":"a","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"a","signatures":[' + b",".join([b'{"sig":""}'] * 65) + b"]}",
        b'{"payload":"' + b"AAAA" * (1 << 22) + b'"}',
    ],
    ids=range(15),
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        Envelope.parse(data)
