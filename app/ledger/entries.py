"""Entries: the leaves of the log, one for each change of state.

The leaf is the canonical JSON of the entry: without its place in the log, which is not known
when it is written, and without anything about a person. Details that may have to be erased
stay outside; the entry holds a commitment to them (see ``commitments``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.ledger.encoding import Json, decode, encode
from app.ledger.errors import MalformedJson, MalformedRecord
from app.ledger.records import Digest, Moment, Name, read_record, write_record
from app.ledger.tree_hash import hash_leaf

CERTIFICATE_ISSUED = "certificate.issued"
"""Type of the entry that logs a certificate; its fact ``certificate_sha256`` says which."""
LARGEST_ENTRY = 65_535
"""Bytes; entry bundles of tiled logs give the length in 16 bits."""


@dataclass(frozen=True)
class Entity:
    """What an entry is about.

    Attributes:
        kind: Such as ``request`` or ``version``.
        id: Of that.
    """

    kind: Name
    id: Name


@dataclass(frozen=True)
class Entry:
    """One change of state.

    Attributes:
        v: Version of this format.
        id: Of the entry.
        tenant: Whose it is.
        time: When it was written.
        type: Dotted name, such as ``version.superseded``.
        actor: Who did it.
        entity: What has changed.
        facts: Counts, digests and the like; never a sample, subject, label or feature.
        request_id: The request it belongs to.
        job_id: The job it belongs to.
        version_id: The version it is about.
        from_state: State before; None for a creation.
        to_state: State after.
        detail_commitment: To details that are kept elsewhere and can be erased.
    """

    id: Name
    tenant: Name
    time: Moment
    type: Name
    actor: Name
    entity: Entity
    facts: Mapping[Name, object] = field(default_factory=dict)
    v: int = 1
    request_id: Name | None = None
    job_id: Name | None = None
    version_id: Name | None = None
    from_state: Name | None = None
    to_state: Name | None = None
    detail_commitment: Digest | None = None

    @classmethod
    def parse(cls, leaf: bytes) -> Entry:
        """Read an entry from its leaf.

        Raises:
            MalformedJson: The leaf is not canonical JSON, or too large.
            MalformedRecord: It is not an entry.
        """
        if len(leaf) > LARGEST_ENTRY:
            raise MalformedJson("the entry is too large")
        entry = read_record(cls, decode(leaf))
        if entry.v != 1:
            raise MalformedRecord("/v", "is a version of the format that is not known here")
        return entry

    def __bytes__(self) -> bytes:
        """Write the leaf: the bytes to store, hash and hand out.

        Raises:
            MalformedJson: The facts cannot be written, or are too many.
        """
        leaf = encode(write_record(self))
        if len(leaf) > LARGEST_ENTRY:
            raise MalformedJson("the entry is too large")
        return leaf

    def leaf_hash(self) -> bytes:
        """Return the hash under which the tree holds this; 32 bytes."""
        return hash_leaf(bytes(self))


def plain(value: object) -> Json:
    """Return facts as canonical JSON can say them.

    Args:
        value: A document with floats and None in it.

    Returns:
        The same with each float as the shortest decimal text that reads back as it, tuples as
        lists, and without the members that are None. Numbers that are not finite, and None in
        a list, become ``nan``, ``inf``, ``-inf`` and ``none``.

    Raises:
        MalformedJson: A value is of a kind that JSON does not have.

    >>> plain({"limit": 0.02, "value": None})
    {'limit': '0.02'}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return ["none" if item is None else plain(item) for item in value]
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, (str, int)):
        return value
    raise MalformedJson(f"a fact is of a kind that is not written: {type(value).__name__}")
