"""Signed notes and the keys that verify them (C2SP signed-note, version 1.0.0).

A note is a text of whole lines, an empty line, and signatures, one a line. What a signature
covers depends on the type of its key: the text itself (Ed25519, 0x01), or the text behind a
time (cosignatures of witnesses, 0x04, see ``checkpoints``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.ledger.encoding import from_base64, to_base64
from app.ledger.errors import BadSignature, MalformedKey, MalformedNote, UnknownKey

ED25519 = 0x01
COSIGNATURE = 0x04
LARGEST_NOTE = 1 << 18
"""Bytes; room for far more than the 16 signatures that every reader has to accept."""


@dataclass(frozen=True)
class VerifierKey:
    """A public key with its name and type: what C2SP calls a vkey.

    Attributes:
        name: Whose it is, such as ``example.com/log``.
        type: ``ED25519`` or ``COSIGNATURE``.
        public: Ed25519 public key, 32 bytes.
    """

    name: str
    type: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read ``name+hex(id)+base64(type and key)``.

        Raises:
            MalformedKey: Not of that form, of another type, or the id is not the key's.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            material = from_base64(encoded)
        except ValueError as error:
            raise MalformedKey("the key is not base 64") from error
        if not _is_name(name) or len(material) != 33 or material[0] not in {ED25519, COSIGNATURE}:
            raise MalformedKey("not the name and Ed25519 key of a signer or witness")
        key = cls(name, material[0], material[1:])
        if key.id.hex() != key_id:
            raise MalformedKey("the id is not that of the key")
        return key

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart; no security rests on them."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """Write as a vkey."""
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.type]) + self.public)}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check an Ed25519 signature of this key (RFC 8032).

        Raises:
            BadSignature: It is not the key's signature of the message.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise BadSignature(f"a signature in the name of {self.name} is wrong") from error


@dataclass(frozen=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: The name of the key.
        key_id: The id of the key, 4 bytes.
        blob: What the key's type makes of it; for Ed25519 the signature, 64 bytes.
    """

    name: str
    key_id: bytes
    blob: bytes

    def __str__(self) -> str:
        """Write as the line of a note, its end included."""
        return f"— {self.name} {to_base64(self.key_id + self.blob)}\n"


@dataclass(frozen=True)
class Note:
    """A text and its signatures, none of them verified.

    Attributes:
        text: Whole lines.
        signatures: As the note has them.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note.

        Raises:
            MalformedNote: The bytes are not a signed note, or too many.
        """
        if len(data) > LARGEST_NOTE:
            raise MalformedNote("the note is too large")
        try:
            content = data.decode()
        except UnicodeDecodeError as error:
            raise MalformedNote("the note is not UTF-8") from error
        if any(character < " " and character != "\n" for character in content):
            raise MalformedNote("the note holds a control character")
        head, gap, tail = content.rpartition("\n\n")
        if not gap or not tail.endswith("\n"):
            raise MalformedNote("the note has no signatures below an empty line")
        return cls(head + "\n", tuple(_signature(line) for line in tail[:-1].split("\n")))

    def __bytes__(self) -> bytes:
        """Write the note."""
        return f"{self.text}\n{''.join(map(str, self.signatures))}".encode()

    def by(self, key: VerifierKey) -> list[bytes]:
        """Return what stands in the signature lines with this key's name and id."""
        return [
            line.blob for line in self.signatures if (line.name, line.key_id) == (key.name, key.id)
        ]


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> None:
    """Check that a known key has signed, and that no signature of a known key is wrong.

    Args:
        note: What was signed.
        keys: Keys whose signature counts; those of another type than ``ED25519`` do not.

    Raises:
        BadSignature: A signature in the name of a known key is not its signature.
        UnknownKey: No signature is by a known key.
    """
    found = False
    for key in keys:
        for signature in note.by(key) if key.type == ED25519 else []:
            key.verify(note.text.encode(), signature)
            found = True
    if not found:
        raise UnknownKey("no signature of the note is by a trusted key")


def _signature(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    try:
        blob = from_base64(encoded)
    except ValueError as error:
        raise MalformedNote("a signature is not base 64") from error
    if dash != "—" or not _is_name(name) or len(blob) < 5:
        raise MalformedNote("a line below the empty line is not a signature")
    return NoteSignature(name, blob[:4], blob[4:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and all(c > " " and not c.isspace() for c in name)
