"""The hashes of a Merkle tree (RFC 9162, section 2.1.1; the same as in RFC 6962).

Leaves and inner nodes start with different bytes, so that no node can pass for a leaf.
"""

from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves."""


def hash_leaf(data: bytes) -> bytes:
    """Return SHA-256(0x00 || data), the hash of a leaf; 32 bytes."""
    return sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right), the hash of a node; 32 bytes."""
    return sha256(b"\x01" + left + right).digest()
