"""The key of a witness: made on first use, in a file that its owner alone can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.infra import durable
from app.ledger.encoding import encode, parse
from app.ledger.errors import LedgerError
from app.ledger.notes import VerifierKey
from app.ledger.records import Digest, Text, read_record, write_record
from app.ledger.signers import Witness
from app.witness.errors import KeyMalformed, OtherName

FILE = "witness.json"


@dataclass(frozen=True)
class _Key:
    name: Text
    seed: Digest


def own_key(home: Path, name: str | None = None) -> Witness:
    """Return the key of the witness that lives in a folder; the first call makes it.

    Args:
        home: The folder.
        name: Of the key, such as ``witness.example/north``; by default one that no other
            witness has.

    Raises:
        KeyMalformed: The file is not as it was written here, or the name cannot be one.
        OtherName: The key was made with another name.
    """
    path = home / FILE
    if not path.exists():
        seed = os.urandom(32)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _read(encode(write_record(_Key(name or _own_name(seed), seed.hex()))))
        durable.create(path, encode(write_record(_Key(made.name, seed.hex()))))
    witness = _read(path.read_bytes())
    if name is not None and name != witness.name:
        raise OtherName(f"the key in {path} signs as {witness.name}")
    return witness


def _read(content: bytes) -> Witness:
    try:
        found = read_record(_Key, parse(content))
        witness = Witness(
            found.name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(found.seed))
        )
        # Read back, so that a name no verifier accepts is refused here and not there.
        VerifierKey.parse(str(witness.key))
    except LedgerError:
        # The cause would show a part of the key.
        raise KeyMalformed("the key of the witness cannot be read") from None
    return witness


def _own_name(seed: bytes) -> str:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return f"lethe-witness/{sha256(public).hexdigest()[:16]}"
