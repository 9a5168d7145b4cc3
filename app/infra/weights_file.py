"""Safetensors files, checked before anything else reads them.

Layout (https://huggingface.co/docs/safetensors): eight bytes with the length N of the header,
little-endian; N bytes of JSON ``{name: {"dtype", "shape", "data_offsets": [begin, end]}}`` and
optionally ``__metadata__``; then the tensors' bytes, offsets relative to the header's end.

The check is stricter than the format: no name twice, no unknown field, offsets that cover the
data once and without a gap, nothing after it. It needs no torch and constant memory.

WeightsFileError
├── ForeignFormat       the bytes are of another format: pickle, archive, HDF5, ...
├── HeaderLength        the length field is zero, above the limit or larger than the file
├── BadHeader           the header is not the JSON it must be
├── DuplicateTensor     the header names a tensor, or a field of one, twice
├── TooManyTensors      more tensors than the limit
├── UnknownDtype        a tensor has a dtype that is not accepted
├── BadOffsets          tensors overlap, leave a gap, or do not end where the file ends
├── WrongSize           a tensor's bytes are not its shape times its dtype
└── NotFinite           a tensor holds NaN or infinity
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from app.infra.foreign_formats import name_of_format

LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 8 * 2**20
"""The format's own library stops at 100 MB; 8 MiB describe 65,536 tensors of a real network."""
MAX_TENSORS: Final = 65_536
MAX_NAME_CHARACTERS: Final = 512
MAX_DIMENSIONS: Final = 32
PREFIX_BYTES: Final = 512
"""How much of a file ``check_prefix`` wants to see: tar has its magic at byte 257."""

DTYPE_BYTES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


class WeightsFileError(Exception):
    """Base of all; ``code`` is stable, the message holds no data but tensor names."""

    code: ClassVar[str] = "invalid-weights"


class ForeignFormat(WeightsFileError):
    """The bytes are not a safetensors file.

    Attributes:
        format: What they look like; ``unknown`` if like nothing known.
    """

    code = "unsupported-format"

    def __init__(self, name: str) -> None:
        self.format = name
        super().__init__(f"only safetensors files are accepted; these bytes look like: {name}")


class HeaderLength(WeightsFileError):
    """The length field is zero, above the limit or larger than the file."""

    code = "weights-header-length"

    def __init__(self, length: int, limit: int) -> None:
        self.length = length
        self.limit = limit
        super().__init__(f"the header claims {length} bytes; from 2 to {limit} are possible")


class BadHeader(WeightsFileError):
    """The header is not the JSON it must be."""

    code = "weights-header"


class DuplicateTensor(WeightsFileError):
    """The header names something twice."""

    code = "weights-duplicate-name"


class TooManyTensors(WeightsFileError):
    """More tensors than the limit."""

    code = "weights-too-many-tensors"


class UnknownDtype(WeightsFileError):
    """A tensor has a dtype that is not accepted."""

    code = "weights-unknown-dtype"


class BadOffsets(WeightsFileError):
    """Tensors overlap, leave a gap, or do not end where the file ends."""

    code = "weights-offsets"


class WrongSize(WeightsFileError):
    """A tensor's bytes are not its shape times the size of its dtype."""

    code = "weights-tensor-size"


class NotFinite(WeightsFileError):
    """Tensors hold NaN or infinity.

    Attributes:
        names: The first of them.
        count: How many there are.
    """

    code = "weights-not-finite"

    def __init__(self, names: Sequence[str], count: int) -> None:
        self.names = tuple(names)
        self.count = count
        super().__init__(f"{count} tensors hold NaN or infinity, first: {', '.join(names)}")


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        name: As in the header.
        dtype: As safetensors calls it, a key of ``DTYPE_BYTES``.
        shape: Sizes.
        begin: First byte, counted from the start of the file.
        end: First byte after it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class WeightsHeader:
    """A file's checked table of contents.

    Attributes:
        tensors: In the order of their bytes.
        metadata: Strings by name; empty if the file has none.
        size: Bytes of the whole file.
    """

    tensors: tuple[TensorEntry, ...]
    metadata: dict[str, str]
    size: int


def check_prefix(prefix: bytes, size: int | None = None) -> None:
    """Refuse what cannot be a safetensors file, from its first bytes.

    Made for an upload that is still arriving. Bytes that could go on as a safetensors file pass.

    Args:
        prefix: The first ``PREFIX_BYTES`` bytes, or all of a shorter file.
        size: Bytes of the whole file, if known.

    Raises:
        ForeignFormat: It begins like another format, or like none.
        HeaderLength: The length field is impossible.
    """
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    starts_object = prefix[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"
    room = MAX_HEADER_BYTES if size is None else min(MAX_HEADER_BYTES, size - LENGTH_BYTES)
    # A plausible length counts for more than a magic number: 0x0280 is how a pickle begins.
    if starts_object and 2 <= length <= MAX_HEADER_BYTES:
        if length > room:
            raise HeaderLength(length, max(room, 0))
        return
    name = name_of_format(prefix)
    if name == "unknown" and len(prefix) > LENGTH_BYTES and (starts_object or length == 0):
        raise HeaderLength(length, max(room, 0))
    raise ForeignFormat(name)


def read_header(path: Path) -> WeightsHeader:
    """Check everything about a file but the values, and return its table of contents.

    Args:
        path: The file.

    Returns:
        The checked header.

    Raises:
        ForeignFormat: It is not a safetensors file.
        HeaderLength: The length field is impossible.
        BadHeader: The header is not the JSON it must be.
        DuplicateTensor: A name occurs twice.
        TooManyTensors: There are more tensors than ``MAX_TENSORS``.
        UnknownDtype: A dtype is not in ``DTYPE_BYTES``.
        BadOffsets: The tensors do not cover the data exactly once.
        WrongSize: A tensor's bytes do not fit its shape.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(PREFIX_BYTES)
        check_prefix(prefix, size)
        length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
        file.seek(LENGTH_BYTES)
        text = file.read(length)
    described = _parse(text)
    metadata = _metadata(described.pop("__metadata__", {}))
    if len(described) > MAX_TENSORS:
        raise TooManyTensors(f"more than {MAX_TENSORS} tensors")
    start = LENGTH_BYTES + length
    entries = [_entry(name, fields, start) for name, fields in described.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_cover(entries, start, size)
    return WeightsHeader(tuple(entries), metadata, size)


def _parse(text: bytes) -> dict[str, Any]:
    # Objects and lists cost far more memory than the bytes that ask for them, so there may be
    # only as many as MAX_TENSORS tensors need: two lists and one object each.
    if text.count(b"{") > MAX_TENSORS + 2 or text.count(b"[") > 2 * MAX_TENSORS:
        raise TooManyTensors(f"more than {MAX_TENSORS} tensors")
    try:
        described = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise BadHeader("the header is not JSON") from error
    if not isinstance(described, dict):
        raise BadHeader("the header is not an object")
    return described


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise DuplicateTensor("the header names something twice")
    return unique


def _no_constant(name: str) -> NoReturn:
    raise BadHeader(f"{name} is not JSON")


def _metadata(described: object) -> dict[str, str]:
    if not isinstance(described, dict) or not all(isinstance(v, str) for v in described.values()):
        raise BadHeader("__metadata__ is not an object of strings")
    return described


def _entry(name: str, fields: object, start: int) -> TensorEntry:
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise BadHeader(f"a tensor's name is not 1 to {MAX_NAME_CHARACTERS} printable characters")
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise BadHeader(f"{name}: must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise UnknownDtype(f"{name}: its dtype is not one of {', '.join(DTYPE_BYTES)}")
    if not _are_counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise BadHeader(f"{name}: shape must be at most {MAX_DIMENSIONS} non-negative integers")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadOffsets(f"{name}: data_offsets must be two integers, the larger one last")
    begin, end = offsets
    if math.prod(shape) * DTYPE_BYTES[dtype] != end - begin:
        raise WrongSize(f"{name}: {end - begin} bytes do not hold its shape of its dtype")
    return TensorEntry(name, dtype, tuple(shape), start + begin, start + end)


def _are_counts(value: object) -> bool:
    # type() and not isinstance(): true and false are integers to Python.
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_cover(entries: Iterable[TensorEntry], start: int, size: int) -> None:
    position = start
    for entry in entries:
        if entry.begin != position:
            fault = "overlaps the tensor before it" if entry.begin < position else "leaves a gap"
            raise BadOffsets(f"{entry.name}: {fault}")
        position = entry.end
    if position != size:
        raise BadOffsets(f"the tensors end at byte {position}, the file at byte {size}")
