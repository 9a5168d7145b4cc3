"""Finding rows by a string: a hashed index in one file.

Rows are grouped by the leading bits of the hash of their key: the file holds where each
bucket begins, then the rows of all buckets. Neither keys nor hashes are kept; a candidate is
compared with the key stored in its row, so a collision costs time and never a wrong answer.
Keys may repeat: all rows of a subject lie in one bucket.

A removed entry becomes zero in place, so that processes that have the file mapped go on
undisturbed. What stays of it is that some removed key belonged to that bucket.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.cells import Strings
from app.infra.rows.mapped import MappedFile
from app.infra.rows.strings import PackedStrings, equal_strings, hash_strings

ENTRY = np.dtype("<i8")
"""A row number plus one; zero is no row."""

HASH = np.dtype("<u8")

CHUNK = 1 << 16
"""Rows handled at once while an index is built: it bounds the memory."""


class KeyIndex:
    """Rows by the key in one column of strings; an empty key is not in the index."""

    def __init__(
        self, path: Path, keys: Strings, rows: int, seed: int, *, writable: bool = False
    ) -> None:
        """Map an index that ``build_index`` made of the same ``keys`` and ``seed``."""
        self._file = MappedFile(path, ENTRY, (-1,), writable=writable)
        self._keys = keys
        self._seed = seed
        self._shift = _shift(rows)
        self._buckets = 1 << (64 - int(self._shift))

    def find(self, keys: PackedStrings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return every match as a position in ``keys`` and a row, ordered by position."""
        which, _, rows = self._candidates(self._bucket(keys))
        # A key being erased by another process no longer matches: not found, never wrong.
        same = equal_strings(keys.take(which), self._keys.packed(rows))
        same &= keys.lengths[which] > 0
        return which[same], rows[same]

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Make the entries of ``rows`` zero; their keys must still be in the column."""
        keys = self._keys.packed(rows)
        buckets = np.unique(self._bucket(keys.take(np.flatnonzero(keys.lengths))))
        _, places, found = self._candidates(buckets)
        self._file.array[places[np.isin(found, rows)]] = 0

    def flush(self) -> None:
        """Return when every change is on the disk."""
        self._file.flush()

    def _bucket(self, keys: PackedStrings) -> NDArray[np.int64]:
        return (hash_strings(keys, self._seed) >> self._shift).astype(np.int64)

    def _candidates(
        self, buckets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return position in ``buckets``, place in the file and row of all their entries."""
        array = self._file.array
        starts = array[buckets]
        which, offsets = _expand(array[buckets + 1] - starts)
        places = starts[which] + offsets + self._buckets + 1
        rows = array[places] - 1
        used = rows >= 0
        return which[used], places[used], rows[used]


def build_index(path: Path, keys: Strings, rows: int, seed: int, *, unique: bool = False) -> int:
    """Write the index of a column of ``rows`` strings.

    Anonymous memory is O(``CHUNK``), times the size of the largest bucket at worst; the rest
    is mapped files.

    Returns:
        With ``unique``: rows minus distinct keys, by exact comparison. Without: 0.
    """
    hashes = _scratch(path.with_suffix(".hashes"), HASH, rows)
    buckets = 1 << (64 - int(_shift(rows)))
    ends = _scratch(path.with_suffix(".ends"), ENTRY, buckets + 1)
    filled = _scratch(path.with_suffix(".filled"), np.dtype("u1"), rows)
    try:
        for chunk in _chunks(rows):
            packed = keys.packed(chunk)
            hashes.array[chunk] = hash_strings(packed, seed)
            filled.array[chunk] = packed.lengths > 0
            present = hashes.array[chunk[packed.lengths > 0]]
            np.add.at(ends.array, (present >> _shift(rows)).astype(np.int64) + 1, 1)
        np.cumsum(ends.array, out=ends.array)
        index = _scratch(path, ENTRY, buckets + 1 + max(1, int(ends.array[-1])))
        index.array[: buckets + 1] = ends.array
        for chunk in _chunks(rows):
            used = chunk[filled.array[chunk] > 0]
            _place(index, ends, (hashes.array[used] >> _shift(rows)).astype(np.int64), used)
        index.flush()
        return _count_duplicates(index, hashes, keys, buckets) if unique else 0
    finally:
        for scratch in (hashes, ends, filled):
            scratch.path.unlink()


def _place(
    index: MappedFile, ends: MappedFile, buckets: NDArray[np.int64], rows: NDArray[np.int64]
) -> None:
    """Enter ``rows`` behind what their buckets already hold; ``ends`` is moved on."""
    order = np.argsort(buckets, kind="stable")
    ordered = buckets[order]
    names, first, counts = np.unique(ordered, return_index=True, return_counts=True)
    rank = np.arange(len(ordered)) - np.repeat(first, counts)
    index.array[len(ends.array) + ends.array[ordered] + rank] = rows[order] + 1
    ends.array[names] += counts


def _count_duplicates(index: MappedFile, hashes: MappedFile, keys: Strings, buckets: int) -> int:
    """Count rows whose key another row has, too; every group but for one of its rows.

    Equal keys have equal hashes, hence lie in one bucket. Rows of a chunk of buckets are
    sorted by hash; neighbours of equal hash are compared byte for byte.
    """
    starts = index.array[: buckets + 1]
    repeated = 0
    low = 0
    while low < buckets:
        high = int(np.searchsorted(starts, starts[low] + CHUNK, side="right")) - 1
        high = min(max(high, low + 1), buckets)
        entries = index.array[buckets + 1 + starts[low] : buckets + 1 + starts[high]]
        rows = np.sort(entries) - 1
        rows = rows[np.argsort(hashes.array[rows], kind="stable")]
        repeated += _repeated_keys(rows, hashes.array[rows], keys)
        low = high
    return repeated


def _repeated_keys(rows: NDArray[np.int64], hashes: NDArray[np.uint64], keys: Strings) -> int:
    """Count repeated keys among ``rows``, which are sorted by their ``hashes``."""
    collides = np.flatnonzero(hashes[1:] == hashes[:-1])
    if not len(collides):
        return 0
    same = equal_strings(keys.packed(rows[collides]), keys.packed(rows[collides + 1]))
    if same.all():
        return len(collides)
    # Different keys of one hash: about never, unless the hash is poor.
    suspects = np.union1d(collides, collides + 1)
    texts = keys.packed(rows[suspects]).texts()
    return len(texts) - len(set(texts))


def _shift(rows: int) -> np.uint64:
    """Return how far to shift a hash to get its bucket; there are two for each row or more."""
    return np.uint64(63 - (rows - 1).bit_length())


def _expand(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``i, k`` for all ``k < counts[i]``, in order."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)


def _chunks(rows: int) -> Iterator[NDArray[np.int64]]:
    """Yield all row numbers, ``CHUNK`` at a time."""
    for start in range(0, rows, CHUNK):
        yield np.arange(start, min(start + CHUNK, rows))


def _scratch(path: Path, dtype: np.dtype[np.int64 | np.uint64 | np.uint8], size: int) -> MappedFile:
    """Make a file of zeros and map it for writing."""
    with path.open("wb") as file:
        file.truncate(size * dtype.itemsize)
    return MappedFile(path, dtype, (size,), writable=True)
