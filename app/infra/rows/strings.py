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

WORD = 8
SLACK = WORD
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, Knuth's multiplicative hashing
_MIX = np.uint64(0xD6E8FEB86659FD93)  # an odd constant with well spread bits
_SHIFT = np.uint64(32)
_FIRST_BYTES = np.array([256**count - 1 for count in range(WORD + 1)], np.uint64)


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
        joined = "".join(texts).encode("utf-8", "surrogatepass")
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if len(joined) != int(lengths.sum()):  # not ASCII: bytes are not characters
            bytes_of = (len(text.encode("utf-8", "surrogatepass")) for text in texts)
            lengths = np.fromiter(bytes_of, np.int64, len(texts))
        data = np.frombuffer(joined + bytes(SLACK), np.uint8)
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

    def window(self) -> NDArray[np.uint64]:
        """Return the buffer as the eight bytes that begin at each of its places."""
        return np.ndarray((len(self.data) - SLACK + 1,), "<u8", self.data, strides=(1,))


def hash_strings(strings: PackedStrings, seed: int) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each string; equal strings and seeds have equal hashes.

    Multiply and fold, one word at a time. The secret seed keeps a data set made on purpose
    from colliding; it is no cryptographic protection.
    """
    window = strings.window()
    hashes = (strings.lengths.astype(np.uint64) + np.uint64(seed)) * _ODD
    which = np.flatnonzero(strings.lengths)
    starts, left = strings.starts[which], strings.lengths[which]
    while len(which):
        mixed = (hashes[which] ^ _words(window, starts, left)) * _MIX
        mixed = (mixed ^ (mixed >> _SHIFT)) * _ODD
        hashes[which] = mixed ^ (mixed >> _SHIFT)
        go_on = np.flatnonzero(left > WORD)
        which, starts, left = which[go_on], starts[go_on] + WORD, left[go_on] - WORD
    return hashes


def equal_strings(left: PackedStrings, right: PackedStrings) -> NDArray[np.bool_]:
    """Compare the strings of two equally long collections pairwise, byte for byte.

    From the last word to the first: ids made by counting differ at their ends.
    """
    equal: NDArray[np.bool_] = left.lengths == right.lengths
    windows = left.window(), right.window()
    which = np.flatnonzero(equal & (left.lengths > 0))
    lengths = left.lengths[which]
    offsets = (lengths - 1) // WORD * WORD
    while len(which):
        words = (
            _words(window, strings.starts[which] + offsets, lengths - offsets)
            for window, strings in zip(windows, (left, right), strict=True)
        )
        same = next(words) == next(words)
        equal[which[~same]] = False
        go_on = np.flatnonzero(same & (offsets > 0))
        which, lengths, offsets = which[go_on], lengths[go_on], offsets[go_on] - WORD
    return equal


def _words(
    window: NDArray[np.uint64], starts: NDArray[np.int64], left: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return eight bytes from each of ``starts``, zero where a string has fewer ``left``."""
    words = window[starts]
    return words if left.min() >= WORD else words & _FIRST_BYTES[np.minimum(left, WORD)]
