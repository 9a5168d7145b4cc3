"""Signatures of model files in the format of OpenSSF model signing, version 1.0.

A Sigstore bundle (0.3) holds a DSSE envelope around an in-toto statement that lists the files of a
model with their digests. ``model_signing verify key <folder> --signature <folder>/model.sig
--public_key key.pem`` checks it, and so does whatever else speaks the format. It takes keys on the
curves of NIST, not the log's Ed25519 ones: a second key.

Signatures are deterministic (RFC 6979): the same key makes the same bytes for the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from app.ledger.encoding import encode, to_base64
from app.ledger.envelopes import pre_authentication_encoding
from app.ledger.errors import MalformedKey
from app.ledger.statements import PAYLOAD_TYPE, STATEMENT_TYPE

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SIGNATURE_FILE = "model.sig"
HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
}
"""Which curves may sign, and over which hash Sigstore has each of them sign."""


@dataclass(frozen=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: Under which it lies in the model's folder.
        sha256: Of its bytes, in lower hexadecimal.
    """

    name: str
    sha256: str


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_public_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """Read a public key on one of the curves that may sign.

    Raises:
        MalformedKey: It is not one.
    """
    try:
        key = load_der_public_key(der)
    except ValueError as error:
        raise MalformedKey("not a public key in DER") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise MalformedKey("not a key on P-256 or P-384")
    return key


def sign_model(private: ec.EllipticCurvePrivateKey, model: str, file: ModelFile) -> bytes:
    """Sign a model of one file.

    Args:
        private: On P-256 or P-384.
        model: Name of the model; nothing is compared with it.
        file: Its file.

    Returns:
        The content of ``model.sig``.

    Raises:
        MalformedKey: The key is on another curve.
    """
    algorithm = HASHES.get(private.curve.name)
    if algorithm is None:
        raise MalformedKey("not a key on P-256 or P-384")
    payload = encode({
        "_type": STATEMENT_TYPE,
        # The digest of a model is that of its files' digests, one after the other.
        "subject": [
            {
                "name": model,
                "digest": {"sha256": sha256(bytes.fromhex(file.sha256)).hexdigest()},
            }
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE_FILE],
            },
            "resources": [{"name": file.name, "algorithm": "sha256", "digest": file.sha256}],
        },
    })
    signature = private.sign(
        pre_authentication_encoding(PAYLOAD_TYPE, payload),
        ec.ECDSA(algorithm, deterministic_signing=True),
    )
    return encode({
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            # Which key it is: the digest of its PEM.
            "publicKey": {"hint": sha256(public_pem(private.public_key())).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": to_base64(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": to_base64(signature), "keyid": ""}],
        },
    })
