"""What the log signs with, and what it has signed last."""

from app.infra.signing.errors import (
    KeptDamaged,
    KeptLost,
    KeysMalformed,
    NoSigningKey,
    OtherOrigin,
    OtherRoot,
    SigningError,
    SmallerTree,
)
from app.infra.signing.kept import Keeper, keeper
from app.infra.signing.keys import Keyring, SigningKey, keyring, make_keyring, rotate

__all__ = [
    "Keeper",
    "KeptDamaged",
    "KeptLost",
    "Keyring",
    "KeysMalformed",
    "NoSigningKey",
    "OtherOrigin",
    "OtherRoot",
    "SigningError",
    "SigningKey",
    "SmallerTree",
    "keeper",
    "keyring",
    "make_keyring",
    "rotate",
]
