"""Signed envelopes: DSSE 1.0.2 with Ed25519.

What is signed is the payload's bytes with their type in front (PAE), so that no bytes can be
taken for a document of another type. The payload is decoded once, and what was verified is
exactly what is handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.ledger.encoding import encode, from_base64, parse, to_base64
from app.ledger.errors import BadSignature, MalformedEnvelope, MalformedJson, UnknownKey
from app.ledger.notes import ED25519, VerifierKey

LARGEST_ENVELOPE = 1 << 24
MOST_SIGNATURES = 64


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class EnvelopeSignature:
    """One signature.

    Attributes:
        signature: Ed25519, 64 bytes.
        key_hint: Which key alone is tried; nothing vouches for it. Empty: any is tried.
    """

    signature: bytes
    key_hint: str = ""


@dataclass(frozen=True)
class Envelope:
    """A payload and its signatures, none of them verified.

    Attributes:
        payload_type: Media type of the payload.
        payload: What was signed.
        signatures: As the envelope has them.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Read the JSON of an envelope; members that DSSE does not know are ignored.

        Raises:
            MalformedEnvelope: The bytes are not an envelope.
        """
        if len(data) > LARGEST_ENVELOPE:
            raise MalformedEnvelope("the envelope is too large")
        try:
            document = parse(data)
        except MalformedJson as error:
            raise MalformedEnvelope("the envelope is not JSON of our kind") from error
        if not isinstance(document, dict):
            raise MalformedEnvelope("the envelope is not an object")
        kind, signatures = document.get("payloadType"), document.get("signatures")
        if not isinstance(kind, str) or not isinstance(signatures, list):
            raise MalformedEnvelope("the envelope has no payload type or no signatures")
        if not 0 < len(signatures) <= MOST_SIGNATURES:
            raise MalformedEnvelope("the envelope has no signature, or too many")
        return cls(kind, _bytes(document.get("payload")), tuple(map(_signature, signatures)))

    def __bytes__(self) -> bytes:
        """Write the envelope as canonical JSON."""
        return encode({
            "payload": to_base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": line.key_hint, "sig": to_base64(line.signature)}
                for line in self.signatures
            ],
        })


def verify_envelope(envelope: Envelope, keys: Sequence[VerifierKey]) -> None:
    """Check that one of these keys has signed the payload.

    Args:
        envelope: What was signed.
        keys: Keys whose signature counts; those of another type than ``ED25519`` do not.

    Raises:
        BadSignature: The envelope names a trusted key, and its signature is wrong.
        UnknownKey: No signature is by a trusted key.
    """
    message = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    wrong: BadSignature | None = None
    for line in envelope.signatures:
        for key in keys:
            if key.type != ED25519 or line.key_hint not in {"", key_hint(key)}:
                continue
            try:
                key.verify(message, line.signature)
            except BadSignature as error:
                # Without a hint it may be the right signature of a key we do not know.
                wrong = error if line.key_hint else wrong
            else:
                return
    if wrong is not None:
        raise wrong
    raise UnknownKey("no signature of the envelope is by a trusted key")


def key_hint(key: VerifierKey) -> str:
    """Return how an envelope of ours names a key."""
    return f"{key.name}+{key.id.hex()}"


def _signature(document: object) -> EnvelopeSignature:
    hint = document.get("keyid", "") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(hint, str):
        raise MalformedEnvelope("a signature of the envelope is not an object with texts")
    return EnvelopeSignature(_bytes(document.get("sig")), hint)


def _bytes(text: object) -> bytes:
    """Decode either alphabet of base 64, as DSSE wants it.

    Raises:
        MalformedEnvelope: It is in neither.
    """
    if not isinstance(text, str):
        raise MalformedEnvelope("a payload or signature is missing")
    try:
        return from_base64(text.replace("-", "+").replace("_", "/"))
    except ValueError as error:
        raise MalformedEnvelope("a payload or signature is not base 64") from error
