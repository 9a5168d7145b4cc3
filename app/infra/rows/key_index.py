"""Finding rows by a string: a hashed index in one file.

Rows are grouped by the leading bits of the hash of their key (compressed buckets): the file
holds where each bucket begins, then the rows of all buckets. No hash and no key is kept;
a candidate is checked against the key stored in its row, so a collision costs time and never
an answer. Keys may repeat: all rows of a subject lie in one bucket.

A removed entry becomes zero in place, so that readers that have the file mapped go on
undisturbed. What stays is that some removed key fell into that bucket.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.infra.rows.errors import DamagedStore
from app.infra.rows.mapped import map_file
from app.infra.rows.strings import PackedStrings, equal_strings, hash_strings

type_of_entry = np.dtype("<u8")
"""A row number plus one; zero is no row."""

CHUNK = 1 << 16
"""Rows handled at once while an index is built; bounds its memory."""


def bucket_bits(rows: int) -> int:
    """Return how many leading bits of the hash name a bucket: about one row in each."""
    return max(1, (max(rows, 1) - 1).bit_length())
