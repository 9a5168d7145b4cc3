"""The log's Ed25519 keys: from the environment, or from a file below the data folder.

``LETHE_SIGNING_KEYS`` (or the file that ``LETHE_SIGNING_KEYS_FILE`` names) holds either the 64
hexadecimal digits of one private key, or a list with the times in which each key counts::

    {"origin": "log.example/lethe",
     "keys": [{"seed": "<64 hexadecimal digits>", "valid_from": "...", "valid_until": "..."},
              {"vkey": "<a key that only verifies>", "valid_until": "..."}]}

Without either, the embedded default makes a list on first use, in ``signing.json`` below the
data folder. Production refuses to: a key that nobody chose is nobody's word.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.infra import clock, durable
from app.infra.settings import Settings, settings
from app.infra.signing.errors import KeysMalformed, NoSigningKey
from app.ledger.encoding import encode, parse
from app.ledger.errors import LedgerError
from app.ledger.notes import VerifierKey
from app.ledger.records import Digest, Moment, Text, read_record, write_record
from app.ledger.signers import Signer
from app.ledger.trust import TrustedKey

FILE = "signing.json"
SEED_DIGITS = 64
HANDOVER = timedelta(seconds=3)


@dataclass(frozen=True)
class SigningKey:
    """A key of the log and when it counts.

    Attributes:
        trusted: The public key and its times.
        signer: The private key; None for one that only verifies here.
    """

    trusted: TrustedKey
    signer: Signer | None = None


@dataclass(frozen=True)
class Keyring:
    """All keys of one log, oldest first.

    Attributes:
        origin: Name of the log and of its keys.
        keys: The keys.
    """

    origin: str
    keys: tuple[SigningKey, ...]

    def signer(self, time: datetime) -> Signer:
        """Return the newest private key that counts at a time.

        Raises:
            NoSigningKey: There is none.
        """
        for key in reversed(self.keys):
            if key.signer is not None and key.trusted.is_valid_at(time):
                return key.signer
        raise NoSigningKey("no private key of the log is valid now")

    def document(self) -> dict[str, list[dict[str, str | None]]]:
        """Return the public keys as ``GET /v1/log/keys`` shows them."""
        trusted = (key.trusted for key in self.keys)
        return {
            "items": [
                {
                    "vkey": str(item.key),
                    "valid_from": _written(item.valid_from),
                    "valid_until": _written(item.valid_until),
                }
                for item in trusted
            ]
        }


@dataclass(frozen=True)
class _Item:
    seed: Digest | None = None
    vkey: Text | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None


@dataclass(frozen=True)
class _List:
    keys: tuple[_Item, ...]
    origin: Text | None = None


def make_keyring(config: Settings) -> Keyring:
    """Read the keys, making the first one where that is allowed.

    Raises:
        NoSigningKey: Production, and no key is configured.
    """
    if config.signing_keys is not None:
        return _read(config.signing_keys.get_secret_value().strip(), config.log_origin)
    path = config.home / FILE
    if config.production:
        raise NoSigningKey("production needs LETHE_SIGNING_KEYS or LETHE_SIGNING_KEYS_FILE")
    if not path.exists():
        _make_file(path, _first(config.log_origin))
    return _read(path.read_text(), config.log_origin)


def keyring() -> Keyring:
    """Return the keys: those of the environment as at the start, else as the file now says."""
    config = settings()
    return _read_once(config.home, _state_of(config.home / FILE))


def rotate(config: Settings) -> Keyring:
    """Let a new key take over in the embedded default, a moment from now.

    Every process reads the file again before it signs, and signs with the key that counts at the
    time that it states: the moment is longer than the file takes to be written.

    Raises:
        KeysMalformed: The keys come from the environment: change them there.
    """
    if config.signing_keys is not None:
        raise KeysMalformed("the keys come from the environment; add the new one there")
    make_keyring(config)
    path = config.home / FILE
    found = read_record(_List, parse(path.read_bytes()))
    then = clock.rfc3339(clock.now() + HANDOVER)
    kept = [
        item if item.valid_until is not None else replace(item, valid_until=then)
        for item in found.keys
    ]
    fresh = _Item(seed=os.urandom(SEED_DIGITS // 2).hex(), valid_from=then)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    _make_file(partial, replace(found, keys=(*kept, fresh)))
    partial.replace(path)
    return make_keyring(config)


@lru_cache(maxsize=1)
def _read_once(home: Path, state: tuple[int, ...] | None) -> Keyring:
    return make_keyring(settings())


def _state_of(path: Path) -> tuple[int, ...] | None:
    """Return what is another for every file that was ever at this place."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _first(origin: str | None) -> _List:
    seed = os.urandom(SEED_DIGITS // 2)
    item = _Item(seed=seed.hex(), valid_from=clock.rfc3339(clock.now().replace(microsecond=0)))
    return _List(origin=origin or _own_origin(seed), keys=(item,))


def _own_origin(seed: bytes) -> str:
    """Name a log nobody named: two of them must not have one name."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return f"lethe/{sha256(public).hexdigest()[:16]}"


def _make_file(path: Path, content: _List) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.create(path, encode(write_record(content)))


def _read(text: str, origin: str | None) -> Keyring:
    try:
        if text.startswith("{"):
            found = read_record(_List, parse(text.encode()))
        else:
            found = _List(keys=(read_record(_Item, {"seed": text.lower()}),))
        first = found.keys[0]
        name = found.origin or origin
        if name is None and first.seed is not None:
            name = _own_origin(bytes.fromhex(first.seed))
        if name is None:
            raise KeysMalformed("the list of signing keys names no origin")
        return Keyring(name, tuple(_key(item, name) for item in found.keys))
    except (LedgerError, IndexError):
        # The cause would show a part of the keys.
        raise KeysMalformed("the signing keys cannot be read") from None


def _key(item: _Item, name: str) -> SigningKey:
    times = _time(item.valid_from), _time(item.valid_until)
    if (item.seed is None) == (item.vkey is None):
        raise KeysMalformed("each key is either a seed or a vkey")
    if item.seed is None:
        key = VerifierKey.parse(str(item.vkey))
        if key.name != name:
            raise KeysMalformed("a key of the log has another name than its origin")
        return SigningKey(TrustedKey(key, *times))
    signer = Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(item.seed)))
    # Read back, so that a name no verifier accepts is refused here and not there.
    return SigningKey(TrustedKey(VerifierKey.parse(str(signer.key)), *times), signer)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _written(time: datetime | None) -> str | None:
    return None if time is None else clock.rfc3339(time)
