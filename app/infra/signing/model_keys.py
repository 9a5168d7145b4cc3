"""The keys that sign model files: on P-256 or P-384, rotated like those of the log.

``LETHE_MODEL_KEYS`` (or the file that ``LETHE_MODEL_KEYS_FILE`` names) holds either one private key
as PEM (``openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256``), or a list with the
times in which each counts; its keys are DER in base 64, private ones PKCS 8::

    {"keys": [{"private": "MIG...", "valid_from": "...", "valid_until": "..."},
              {"public": "MFk...", "valid_until": "..."}]}

Without either, the embedded default makes a list on first use, in ``model-signing.json`` below the
data folder. Production makes none: models are then not signed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from app.infra import clock, durable
from app.infra.settings import Settings, settings
from app.infra.signing.errors import KeysMalformed, NoSigningKey
from app.ledger.encoding import encode, from_base64, parse, to_base64
from app.ledger.errors import LedgerError
from app.ledger.model_signatures import HASHES, public_pem, read_public_key
from app.ledger.records import Moment, read_record, write_record

FILE = "model-signing.json"


@dataclass(frozen=True)
class ModelKey:
    """A key and when its signatures count.

    Attributes:
        public: The public key.
        private: The private key; None for one that only verifies.
        valid_from: From when on; None for ever before.
        valid_until: Up to, not including, when; None while it is not retired.
    """

    public: ec.EllipticCurvePublicKey
    private: ec.EllipticCurvePrivateKey | None
    valid_from: datetime | None
    valid_until: datetime | None

    def is_valid_at(self, time: datetime) -> bool:
        """Whether a signature made at this time counts."""
        return (self.valid_from is None or self.valid_from <= time) and (
            self.valid_until is None or time < self.valid_until
        )


@dataclass(frozen=True)
class ModelKeys:
    """All keys that sign models, oldest first."""

    keys: tuple[ModelKey, ...]

    def signer(self, time: datetime) -> ec.EllipticCurvePrivateKey:
        """Return the newest private key that counts at a time.

        Raises:
            NoSigningKey: There is none.
        """
        for key in reversed(self.keys):
            if key.private is not None and key.is_valid_at(time):
                return key.private
        raise NoSigningKey("no private key for models is valid now")

    def document(self) -> list[dict[str, str | None]]:
        """Return the public keys as ``GET /v1/model-keys`` shows them."""
        return [
            {
                "public_key": public_pem(key.public).decode(),
                "valid_from": None if key.valid_from is None else clock.rfc3339(key.valid_from),
                "valid_until": None if key.valid_until is None else clock.rfc3339(key.valid_until),
            }
            for key in self.keys
        ]


@dataclass(frozen=True)
class _Item:
    private: str | None = None
    public: str | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None


@dataclass(frozen=True)
class _List:
    keys: tuple[_Item, ...]


def make_model_keys(config: Settings) -> ModelKeys:
    """Read the keys, making the first one where that is allowed.

    Raises:
        NoSigningKey: Production, and no key is configured.
        KeysMalformed: They cannot be read.
    """
    if config.model_keys is not None:
        return _read(config.model_keys.get_secret_value().strip())
    if config.production:
        raise NoSigningKey("production signs models with LETHE_MODEL_KEYS or LETHE_MODEL_KEYS_FILE")
    path = config.home / FILE
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        first = _fresh(clock.now().replace(microsecond=0))
        durable.create(path, encode(write_record(_List((first,)))))
    return _read(path.read_text())


def model_keys() -> ModelKeys:
    """Return the process's keys, read once; restart after a rotation."""
    return _kept(settings().home)


def rotate_model_keys(config: Settings) -> ModelKeys:
    """Let a new key take over in the embedded default; the old one counts until now.

    Raises:
        KeysMalformed: The keys come from the environment: change them there.
    """
    if config.model_keys is not None:
        raise KeysMalformed("the keys come from the environment; add the new one there")
    make_model_keys(config)
    path = config.home / FILE
    found = read_record(_List, parse(path.read_bytes()))
    now = clock.now()
    ended = clock.rfc3339(now)
    kept = [item if item.valid_until else replace(item, valid_until=ended) for item in found.keys]
    durable.replace(path, encode(write_record(_List((*kept, _fresh(now))))))
    _kept.cache_clear()
    return make_model_keys(config)


@lru_cache(maxsize=8)
def _kept(home: Path) -> ModelKeys:
    return make_model_keys(settings())


def _fresh(since: datetime) -> _Item:
    private = ec.generate_private_key(ec.SECP256R1())
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return _Item(private=to_base64(der), valid_from=clock.rfc3339(since))


def _read(text: str) -> ModelKeys:
    try:
        if text.startswith("-----BEGIN"):
            private = load_pem_private_key(text.encode(), None)
            return ModelKeys((_key(private, None, None),))
        items = read_record(_List, parse(text.encode())).keys
        keys = tuple(_of(item) for item in items)
    except (LedgerError, ValueError, TypeError):
        # The cause would show a part of the keys.
        raise KeysMalformed("the keys that sign models cannot be read") from None
    if not keys:
        raise KeysMalformed("there is no key to sign models with")
    return ModelKeys(keys)


def _of(item: _Item) -> ModelKey:
    times = tuple(
        None if text is None else datetime.fromisoformat(text)
        for text in (item.valid_from, item.valid_until)
    )
    if (item.private is None) == (item.public is None):
        raise KeysMalformed("each key is either private or public")
    if item.private is not None:
        return _key(load_der_private_key(from_base64(item.private), None), *times)
    return ModelKey(read_public_key(from_base64(str(item.public))), None, *times)


def _key(private: object, since: datetime | None, until: datetime | None) -> ModelKey:
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in HASHES:
        raise KeysMalformed("a key that signs models is not on P-256 or P-384")
    return ModelKey(private.public_key(), private, since, until)
