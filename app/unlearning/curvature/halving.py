"""Batches that shrink until they fit into memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from app.unlearning.rows import Batch, Rows, stream

Result = TypeVar("Result")

_NO_MEMORY = (
    "can't allocate memory",  # the CPU's allocator
    "could not create a primitive",  # oneDNN, whose own allocations failed
    "could not create a memory",
    "_STATUS_ALLOC_FAILED",  # cuBLAS and cuDNN
)
"""What is said where memory runs out and there is no type of error for it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(said in str(error) for said in _NO_MEMORY)


class Pieces:
    """Batches, cut into pieces of at most so many rows.

    Attributes:
        longest: Rows of the longest piece so far.
    """

    def __init__(self, batches: Iterable[Batch], size: int | None) -> None:
        """Prepare to cut; None leaves every batch whole."""
        self._batches, self._size = batches, size
        self.longest = 0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the pieces, as views."""
        for batch in self._batches:
            size = len(batch) if self._size is None else self._size
            for start in range(0, len(batch), size):
                piece = batch.slice(start, start + size) if size < len(batch) else batch
                self.longest = max(self.longest, len(piece))
                yield piece


def halve_until_it_fits(
    rows: Rows | Iterable[Batch], size: int, run: Callable[[Pieces], Result]
) -> Result:
    """Run over all rows, with batches half as long each time memory runs out.

    A failed attempt leaves partial sums, so every attempt starts at the first row. An iterator,
    which can be run through only once, is tried only once; so are batches of a single row.

    Args:
        rows: Rows, or batches.
        size: Rows of a batch cut from rows in the first attempt; batches are left whole in it.
        run: What to do with the batches; called anew for every attempt.

    Returns:
        What ``run`` returned in the end.

    Raises:
        RuntimeError: Memory ran out where nothing is left to halve, or something else went wrong.
        MemoryError: The same, from a library that says it so.
    """
    limit = None
    while True:
        pieces = Pieces(stream(rows, size), limit)
        try:
            return run(pieces)
        except (RuntimeError, MemoryError) as error:
            is_once = isinstance(rows, Iterator)
            if is_once or pieces.longest <= 1 or not is_out_of_memory(error):
                raise
        # Only here are the frames gone that held the tensors of the failed attempt.
        size = limit = pieces.longest // 2
