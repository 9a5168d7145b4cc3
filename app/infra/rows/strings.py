"""Many strings as one array of bytes, hashed and compared without a loop over them.

Eight bytes of each string are taken at a time, for all strings at once, so the cost in
Python is that of the longest string only. The bytes are followed by ``SLACK`` zero bytes
so that eight bytes can be read from any place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

SLACK = 8
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, Knuth's multiplicative hashing
_MIX = np.uint64(0xD6E8FEB86659FD93)  # an odd constant with well spread bits
_SHIFT = np.uint64(32)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class PackedStrings:
    """``n`` byte strings inside one buffer.

    Attributes:
        data: uint8 buffer; after the end of each string there are at least ``SLACK`` more bytes.
        starts: int64 ``(n,)``, where each string begins.
        lengths: int64 ``(n,)``, bytes in each string.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Pack Python strings as UTF-8.

        Lone surrogates are let through: they match no stored string.
        """
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        data = np.frombuffer(b"".join([*encoded, bytes(SLACK)]), np.uint8)
        return cls(data, np.cumsum(lengths) - lengths, lengths)

    def take(self, positions: NDArray[np.int64]) -> "PackedStrings":
        """Return the strings at ``positions``, in the same buffer."""
        return PackedStrings(self.data, self.starts[positions], self.lengths[positions])

    def texts(self) -> list[str]:
        """Return Python strings.

        Raises:
            UnicodeDecodeError: The bytes are not UTF-8.
        """
        data = self.data.data
        spans = zip(self.starts.tolist(), self.lengths.tolist(), strict=True)
        return [str(data[start : start + length], "utf-8") for start, length in spans]

    def joined(self) -> NDArray[np.uint8]:
        """Return the bytes of all strings, one after the other, without slack."""
        total = int(self.lengths.sum())
        ends = np.cumsum(self.lengths)
        if len(self) and np.array_equal(self.starts, self.starts[0] + ends - self.lengths):
            return self.data[self.starts[0] : self.starts[0] + total]
        places = np.arange(total) + np.repeat(self.starts - (ends - self.lengths), self.lengths)
        joined: NDArray[np.uint8] = self.data[places]
        return joined

    def words(self, number: int, which: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return bytes ``8 number .. 8 number + 7`` of some strings, zero beyond their ends."""
        window: NDArray[np.uint64] = np.ndarray(
            (len(self.data) - SLACK + 1,), "<u8", self.data, strides=(1,)
        )
        word = window[self.starts[which] + 8 * number]
        beyond = np.clip(8 * (number + 1) - self.lengths[which], 0, 8).astype(np.uint64)
        # A shift by 64 is undefined, hence at most 7 bytes are cut: no string is asked
        # for a word that it does not reach.
        return word & (_ALL >> (beyond * np.uint64(8)))


def hash_strings(strings: PackedStrings, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each string; equal strings and seeds have equal hashes.

    Multiply and fold, one word at a time. The secret seed keeps a data set made on purpose
    from colliding; it is no cryptographic protection.
    """
    hashes = (strings.lengths.astype(np.uint64) + np.uint64(seed)) * _ODD
    which = np.flatnonzero(strings.lengths > 0)
    number = 0
    while len(which):
        mixed = (hashes[which] ^ strings.words(number, which)) * _MIX
        mixed = (mixed ^ (mixed >> _SHIFT)) * _ODD
        hashes[which] = mixed ^ (mixed >> _SHIFT)
        number += 1
        which = which[strings.lengths[which] > 8 * number]
    return hashes


def equal_strings(left: PackedStrings, right: PackedStrings) -> NDArray[np.bool_]:
    """Compare the strings of two equally long collections pairwise, byte for byte."""
    equal: NDArray[np.bool_] = left.lengths == right.lengths
    which = np.flatnonzero(equal & (left.lengths > 0))
    number = 0
    while len(which):
        same = left.words(number, which) == right.words(number, which)
        equal[which[~same]] = False
        number += 1
        which = which[same & (left.lengths[which] > 8 * number)]
    return equal
