"""Attacks on a dump: every id there could be is tried, under every hash and key at hand."""

import base64
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from tests.e2e.dumps import Dump

PLAIN_HASHES = ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b")
FILTER_BITS = 26
NONCE_BYTES = 12


class Guesser:
    """Tries every id of a space on a dump.

    Args:
        dump: What was taken.
        ids: The whole space: what every id could be.
        places: Public ids that a digest may have been bound to: tenant, dataset, request.
    """

    def __init__(self, dump: Dump, ids: Collection[str], places: Collection[str]) -> None:
        self._dump = dump
        self._ids = sorted(ids)
        self._places = list(places)

    def named(self, mark: str) -> set[str]:
        """Return the ids that occur as they are, or in base 64 or hexadecimal."""
        pattern = re.compile(re.escape(mark.encode()) + rb"-(?:sample|subject)-[0-9]+")
        return {
            hit.decode()
            for content in self._dump.files.values()
            for plain in _read(content)
            for hit in pattern.findall(plain)
        }

    def hashed(self) -> set[str]:
        """Return the ids of which a plain hash occurs, in whatever notation."""
        return self._found(
            (id, form)
            for id in self._ids
            for message in self._messages(id)
            for digest in (hashlib.new(name, message).digest() for name in PLAIN_HASHES)
            for form in (digest, digest.hex().encode(), base64.b64encode(digest))
        )

    def keyed(self, keys: Iterable[bytes]) -> set[str]:
        """Return the ids of which a digest under one of the keys occurs."""
        return self._found(
            (id, digest) for key in keys for id in self._ids for digest in self._keyed(key, id)
        )

    def _messages(self, id: str) -> Iterator[bytes]:
        for text in (id, f"sample:{id}", f"subject:{id}"):
            yield text.encode()
        for place in self._places:
            yield place.encode() + b"\0" + id.encode()
            yield f"{place}:{id}".encode()

    def _keyed(self, key: bytes, id: str) -> Iterator[bytes]:
        raw = id.encode()
        kind = b"subject" if b"-subject-" in raw else b"sample"
        member = kind + b":" + raw
        yield hmac.digest(key, raw, "sha256")
        yield hmac.digest(key, member, "sha256")
        # The service's own ways to make digests, in case that a key of theirs was taken.
        for place in self._places:
            yield hmac.digest(key, _framed(kind, place.encode(), raw), "sha256")
        own = hmac.digest(key, b"lethe/member-key/v1\0" + member, "sha256")
        for member_key in (key, own):
            inner = hmac.digest(member_key, b"lethe/member/v1\0" + member, "sha256")
            yield hashlib.sha256(b"\0" + inner).digest()

    def _found(self, guesses: Iterable[tuple[str, bytes]]) -> set[str]:
        """Return the ids whose guess occurs anywhere, at whatever offset, by its first 16 bytes."""
        owners, heads = [], bytearray()
        for id, guess in guesses:
            owners.append(id)
            heads += guess[:16]
        both = np.frombuffer(bytes(heads), "<u8").reshape(-1, 2)
        order = np.argsort(both[:, 0])
        starts, ends = both[order, 0], both[order, 1]
        is_wanted = np.zeros(2**FILTER_BITS, bool)
        is_wanted[_low_bits(starts)] = True
        found = set()
        for content in self._dump.files.values():
            for shift in range(min(8, len(content))):
                windows = np.frombuffer(content, "<u8", (len(content) - shift) // 8, shift)
                places = np.flatnonzero(is_wanted[_low_bits(windows[:-1])])
                ranks = np.searchsorted(starts, windows[places])
                lasts = np.searchsorted(starts, windows[places], "right")
                for place, first, last in zip(places, ranks, lasts, strict=True):
                    same = np.flatnonzero(ends[first:last] == windows[place + 1])
                    found |= {owners[guess] for guess in order[first:last][same]}
        return found


def _low_bits(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (numbers & np.uint64(2**FILTER_BITS - 1)).astype(np.int64)


def derived(master: bytes, tenant_id: str, purpose: str) -> bytes:
    """Return what follows from the master key for a purpose, as the service derives it."""
    info = f"lethe/v1\0{tenant_id}\0{purpose}".encode()
    return HKDF(SHA256(), 32, None, info).derive(master)


def opened(keys: Iterable[bytes], box: bytes, contexts: Collection[str]) -> bytes:
    """Return what is in a box; nothing if none of the keys opens it in one of the contexts."""
    for key in keys:
        for context in contexts:
            try:
                return AESGCM(key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context.encode())
            except (InvalidTag, ValueError):
                continue
    return b""


def _framed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _read(content: bytes) -> Iterator[bytes]:
    """Yield a content as it is, and what stands in it in base 64 or hexadecimal."""
    yield content
    for run in re.findall(rb"[A-Za-z0-9+/]{20,}", content):
        for start in range(4):
            stop = start + (len(run) - start) // 4 * 4
            yield base64.b64decode(run[start:stop])
    for run in re.findall(rb"[0-9a-f]{30,}|[0-9A-F]{30,}", content):
        for start in range(2):
            stop = start + (len(run) - start) // 2 * 2
            yield bytes.fromhex(run[start:stop].decode())
