"""One file seen as an array, shared between processes through the page cache."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.errors import DamagedStore


class MappedFile:
    """A memory-mapped file of fixed-width items.

    Attributes:
        path: The file.
        array: Its content; written through when the file was opened for writing.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], *, writable: bool
    ) -> None:
        """Map ``path``; the first axis of ``shape`` may be -1, as many as the file holds.

        Raises:
            DamagedStore: The file is missing or its size does not fit ``shape``.
        """
        self.path = path
        self._dtype = dtype
        self._shape = shape
        self._writable = writable
        # numpy's element type is decided by the caller at run time: Any.
        self.array: NDArray[Any]
        self.map_again()

    def map_again(self) -> None:
        """Map the file at the size it has now.

        Raises:
            DamagedStore: The file is missing or its size does not fit the shape.
        """
        try:
            size = self.path.stat().st_size
            width = int(np.prod(self._shape[1:], dtype=np.int64)) * self._dtype.itemsize
            items = size // width if self._shape[0] == -1 else self._shape[0]
            if size == 0 or items * width != size:
                raise DamagedStore(f"{self.path.name} holds {size} bytes")
            self._map: np.memmap[Any, Any] = np.memmap(
                self.path,
                self._dtype,
                "r+" if self._writable else "r",
                shape=(items, *self._shape[1:]),
            )
        except OSError as error:
            raise DamagedStore(f"{self.path.name} cannot be mapped") from error
        self.array = np.asarray(self._map)

    def flush(self) -> None:
        """Return when every change is on the disk."""
        self._map.flush()
