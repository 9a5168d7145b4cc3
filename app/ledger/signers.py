"""Private keys: what a log, an issuer of certificates and a witness sign with.

Nothing that verifies needs this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.ledger.checkpoints import Checkpoint, cosigned_message
from app.ledger.envelopes import (
    Envelope,
    EnvelopeSignature,
    key_hint,
    pre_authentication_encoding,
)
from app.ledger.notes import COSIGNATURE, ED25519, Note, NoteSignature, VerifierKey


@dataclass(frozen=True)
class Signer:
    """Signs checkpoints under its log's origin as name, or certificates, or both.

    One key may do both: an envelope's message begins with ``DSSEv1``, a checkpoint with the
    origin.

    Attributes:
        name: Of the key.
        private: The key.
    """

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        """The key that verifies what this one signs."""
        return VerifierKey(self.name, ED25519, self.private.public_key().public_bytes_raw())

    def sign_note(self, text: str) -> Note:
        """Return the note in which this key alone signs a text of whole lines."""
        signature = self.private.sign(text.encode())
        return Note(text, (NoteSignature(self.name, self.key.id, signature),))

    def sign_checkpoint(self, checkpoint: Checkpoint) -> Note:
        """Return the note in which the log states its size and root.

        The caller has made sure that it continues every checkpoint signed before.
        """
        return self.sign_note(str(checkpoint))

    def sign_envelope(self, payload_type: str, payload: bytes) -> Envelope:
        """Return the envelope in which this key signs a payload."""
        signature = self.private.sign(pre_authentication_encoding(payload_type, payload))
        return Envelope(payload_type, payload, (EnvelopeSignature(signature, key_hint(self.key)),))


@dataclass(frozen=True)
class Witness:
    """Cosigns checkpoints; its key must sign nothing else and under no other name.

    Attributes:
        name: Of the key.
        private: The key.
    """

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> VerifierKey:
        """The key that verifies the cosignatures."""
        return VerifierKey(self.name, COSIGNATURE, self.private.public_key().public_bytes_raw())

    def cosign(self, checkpoint: Checkpoint, time: datetime) -> NoteSignature:
        """State that at this time the checkpoint is the largest consistent one seen.

        The caller has made sure that it is, and remembers it before it hands this out.
        """
        seconds = int(time.timestamp())
        signature = self.private.sign(cosigned_message(str(checkpoint), seconds))
        return NoteSignature(self.name, self.key.id, seconds.to_bytes(8, "big") + signature)
