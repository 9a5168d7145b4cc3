"""Secrets: the master key, keys derived from it, keyed digests and sealed boxes.

Everything secret hangs on one master secret (``LETHE_SECRET_KEY`` or, in the embedded
default, a file made on first use with mode 600). Keys for a tenant and a purpose are
derived by HKDF-SHA256 (RFC 5869), so a leaked purpose key opens nothing else.
"""

import hashlib
import hmac
import os
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.infra.settings import Settings, settings

NONCE_BYTES = 12
MIN_SECRET_CHARACTERS = 32


class BoxDamaged(Exception):
    """A sealed box does not open: wrong key, wrong context or altered bytes."""


def _make_secret_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(48))


def master_secret(config: Settings) -> bytes:
    """Return the master secret, made on first use unless in production.

    Raises:
        ValueError: The configured secret is shorter than 32 characters.
    """
    if config.secret_key is not None:
        text = config.secret_key.get_secret_value()
    else:
        path = config.home / "secret.key"
        _make_secret_file(path)
        text = path.read_text().strip()
    if len(text) < MIN_SECRET_CHARACTERS:
        raise ValueError(f"the master secret needs at least {MIN_SECRET_CHARACTERS} characters")
    return text.encode()


@lru_cache(maxsize=1)
def _process_secret() -> bytes:
    return master_secret(settings())


@lru_cache(maxsize=1024)
def derive(tenant_id: str, purpose: str) -> bytes:
    """Return the 32-byte key of a tenant for a purpose ("" for the whole service)."""
    info = f"lethe/v1\0{tenant_id}\0{purpose}".encode()
    return HKDF(SHA256(), 32, None, info).derive(_process_secret())


def keyed_digest(key: bytes, *parts: str) -> bytes:
    """Return HMAC-SHA256 over length-prefixed parts, so that no two lists collide."""
    message = b"".join(len(raw).to_bytes(8, "big") + raw for raw in (p.encode() for p in parts))
    return hmac.digest(key, message, hashlib.sha256)


def seal_box(key: bytes, plain: bytes, context: str) -> bytes:
    """Encrypt with AES-256-GCM; ``context`` is bound as associated data."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def open_box(key: bytes, box: bytes, context: str) -> bytes:
    """Decrypt what ``seal_box`` made.

    Raises:
        BoxDamaged: Wrong key, wrong context or altered bytes.
    """
    try:
        return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError) as error:
        raise BoxDamaged from error
