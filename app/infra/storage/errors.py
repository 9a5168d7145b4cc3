"""What can go wrong with stored objects.

``StorageError``
├── ``BadKey``            the key could leave the store
├── ``BadStoreUrl``       no store has such an address
├── ``ObjectMissing``     nothing is stored under the key
├── ``RangeOutside``      the range is not inside the object
├── ``TooLarge``          the stream is longer than its limit
├── ``SizeMismatch``      the stream ended early or late
├── ``DigestMismatch``    the bytes are not the announced ones
├── ``StoreFull``         no room is left
├── ``DeletionRefused``   the store keeps what it was told to destroy
└── ``StoreUnavailable``  the store does not answer, or answers with a failure
"""


class StorageError(Exception):
    """Base of all errors of the object store."""


class BadKey(StorageError):
    """A key is not one the service could have made; it is not repeated here."""

    def __init__(self) -> None:
        super().__init__("an object key has an unexpected form")


class BadStoreUrl(StorageError):
    """The address of a store is neither file:///folder nor s3://bucket/prefix."""

    def __init__(self) -> None:
        super().__init__("a store's address must be file:///folder or s3://bucket/prefix")


class ObjectMissing(StorageError):
    """Nothing is stored under a key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}")
        self.key = key


class RangeOutside(StorageError):
    """A range of bytes does not lie inside the object."""

    def __init__(self, start: int, end: int, size: int) -> None:
        super().__init__(f"bytes {start} to {end} do not lie inside {size} bytes")
        self.start = start
        self.end = end
        self.size = size


class TooLarge(StorageError):
    """A stream is longer than its limit in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class SizeMismatch(StorageError):
    """A stream held fewer or more bytes than were announced."""

    def __init__(self, expected: int, received: int) -> None:
        super().__init__(f"expected {expected} bytes, received {received}")
        self.expected = expected
        self.received = received


class DigestMismatch(StorageError):
    """A stream's SHA-256 is not the announced one."""

    def __init__(self, expected: str, received: str) -> None:
        super().__init__(f"expected sha256:{expected}, received sha256:{received}")
        self.expected = expected
        self.received = received


class StoreFull(StorageError):
    """The disk, the quota or the process's file size limit is exhausted."""

    def __init__(self) -> None:
        super().__init__("no room is left in the object store")


class DeletionRefused(StorageError):
    """The store still holds versions of an object that it was told to destroy."""

    def __init__(self, key: str, versions: int) -> None:
        super().__init__(f"{versions} versions of {key} could not be destroyed")
        self.key = key
        self.versions = versions


class StoreUnavailable(StorageError):
    """The store does not answer or answers with a failure; trying again later may help."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the object store failed: {reason}")
        self.reason = reason
