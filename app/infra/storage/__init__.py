"""The door to the object store: a local folder or a bucket, behind one contract."""

from app.infra.storage.contract import ObjectStore, Stored
from app.infra.storage.errors import (
    BadKey,
    BadStoreUrl,
    DeletionRefused,
    DigestMismatch,
    ObjectMissing,
    RangeOutside,
    SizeMismatch,
    StorageError,
    StoreFull,
    StoreUnavailable,
    TooLarge,
)
from app.infra.storage.opening import open_store

__all__ = [
    "BadKey",
    "BadStoreUrl",
    "DeletionRefused",
    "DigestMismatch",
    "ObjectMissing",
    "ObjectStore",
    "RangeOutside",
    "SizeMismatch",
    "StorageError",
    "StoreFull",
    "StoreUnavailable",
    "Stored",
    "TooLarge",
    "open_store",
]
