"""Whether every value of a weights file is finite, read once and in constant memory.

Read with plain reads into one buffer and not through a memory map: a file that is cut short
meanwhile is then an error and not a SIGBUS.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from app.infra.weights_file import BadOffsets, NotFinite, TensorEntry, WeightsHeader

CHUNK_BYTES: Final = 4 * 2**20
MAX_NAMES: Final = 5

# An IEEE-like number is NaN or infinite when all bits of its exponent are set. F8_E4M3 (the
# "fn" kind) has no infinity and one NaN in each sign: all bits of exponent and mantissa.
_EXPONENT_BITS: Final[dict[str, tuple[type[np.unsignedinteger], int]]] = {
    "F8_E4M3": (np.uint8, 0x7F),
    "F8_E5M2": (np.uint8, 0x7C),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F32": (np.uint32, 0x7F80_0000),
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
}


def check_finite(path: Path, header: WeightsHeader) -> None:
    """Read every floating-point value of a file.

    Args:
        path: The file.
        header: Its checked header.

    Raises:
        NotFinite: Some tensors hold NaN or infinity; the first few are named.
    """
    buffer = bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        faulty = [entry.name for entry in header.tensors if not _is_finite(file, entry, buffer)]
    if faulty:
        raise NotFinite(faulty[:MAX_NAMES], len(faulty))


def _is_finite(file: BinaryIO, entry: TensorEntry, buffer: bytearray) -> bool:
    if entry.dtype not in _EXPONENT_BITS:
        return True
    dtype, exponent = _EXPONENT_BITS[entry.dtype]
    little_endian = np.dtype(dtype).newbyteorder("<")
    mask = dtype(exponent)
    for chunk in _chunks(file, entry, buffer):
        bits = np.frombuffer(chunk, dtype=little_endian)
        if bool(((bits & mask) == mask).any()):
            return False
    return True


def _chunks(file: BinaryIO, entry: TensorEntry, buffer: bytearray) -> Iterator[memoryview]:
    file.seek(entry.begin)
    left = entry.end - entry.begin
    while left:
        wanted = memoryview(buffer)[: min(left, len(buffer))]
        filled = 0
        while filled < len(wanted):
            count = file.readinto(wanted[filled:])  # type: ignore[attr-defined] # raw file
            if not count:
                raise BadOffsets(f"{entry.name}: the file was cut short while it was read")
            filled += count
        yield wanted
        left -= len(wanted)
