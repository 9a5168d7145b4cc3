"""Arrow types and arrays as columns and cells of a row store.

Kept: booleans, integers, floats, strings (dictionaries of them too) and lists of equally many
numbers. Everything else (dates, decimals, bytes, structs, lists of unequal length, lists with
nulls inside) is refused rather than guessed at or left out.
"""

from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from app.infra.rows import Cells, ColumnSpec, PackedStrings
from app.infra.rows.strings import SLACK
from workers.sources.errors import ImportRefused

LONGEST_CELL_BYTES = 1 << 24
"""A longer list or string in one cell would no longer be streamed in bounded memory."""

LONGEST_NAME_BYTES = 1000
"""Whoever is named here has to be named in a request, which takes no longer name and no NUL."""


def is_list(dtype: pa.DataType) -> bool:
    """Say whether cells are lists, of fixed or of variable length."""
    return bool(
        pa.types.is_list(dtype)
        or pa.types.is_large_list(dtype)
        or pa.types.is_fixed_size_list(dtype)
    )


def column_spec(field: pa.Field, length: int | None) -> ColumnSpec:
    """Return the column that cells of an Arrow field go into.

    Args:
        field: Name and type.
        length: Numbers in a list; not looked at for other types.

    Returns:
        The column.

    Raises:
        ImportRefused: The type is not supported (``unsupported-column``).
    """
    dtype = _value_type(field.type)
    if _is_string(dtype):
        return ColumnSpec(field.name, "string", "utf8", None, field.nullable)
    if not is_list(dtype):
        return ColumnSpec(field.name, "number", _number_type(field, dtype), None, field.nullable)
    number = _number_type(field, dtype.value_type)
    if length is None or length < 1:
        refuse(field.name, "holds no list with a number in it")
    check_length(field.name, length * 8)
    return ColumnSpec(field.name, "list", number, length, field.nullable)


def check_length(name: str, size: int) -> None:
    """Refuse cells of more bytes than are streamed in bounded memory.

    Raises:
        ImportRefused: ``size`` is more (``unsupported-column``).
    """
    if size > LONGEST_CELL_BYTES:
        refuse(name, f"holds cells of more than {LONGEST_CELL_BYTES} bytes")


def string_names(schema: pa.Schema) -> list[str]:
    """Return the names of columns of strings, dictionaries of them included."""
    return [field.name for field in schema if _is_string(_value_type(field.type))]


def longest_word(array: pa.Array) -> int:
    """Return the bytes of the longest string in the dictionary of an array, if it has one."""
    if not pa.types.is_dictionary(array.type):
        return 0
    return pc.max(pc.binary_length(array.dictionary)).as_py() or 0


def texts(array: pa.Array, name: str) -> PackedStrings:
    """Return ids, subjects or splits as strings; null is the empty string.

    Integers are taken by their decimal digits.

    Raises:
        ImportRefused: The column holds neither strings nor integers, or a name that no request
            could carry (``unsupported-column``).
    """
    array = _decoded(array)
    if pa.types.is_integer(array.type):
        array = array.cast(pa.large_string())
    if not _is_string(array.type):
        refuse(name, f"cannot name anything: it is of type {array.type}")
    packed = _packed(array.fill_null(""), name)
    if len(packed) and packed.lengths.max() > LONGEST_NAME_BYTES:
        refuse(name, f"holds names of more than {LONGEST_NAME_BYTES} bytes")
    if not packed.joined().all():
        refuse(name, "holds names with a NUL character")
    return packed


def cells(array: pa.Array, spec: ColumnSpec) -> Cells:
    """Return the cells of a batch.

    Raises:
        ImportRefused: Lists differ in length or hold nulls, or strings are not UTF-8
            (``unsupported-column``).
    """
    array = _decoded(array)
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if not spec.nullable and valid is not None:
        refuse(spec.name, "declares that it has no nulls, and has")
    if spec.kind == "string":
        return Cells(_packed(array.fill_null(""), spec.name), valid)
    if spec.kind == "number":
        return Cells(_numbers(array.fill_null(_zero(array.type)), spec), valid)
    if pc.any(pc.not_equal(pc.list_value_length(array), spec.length)).as_py():
        refuse(spec.name, "holds lists of different lengths")
    flat = array.flatten()  # without the null lists
    if flat.null_count:
        refuse(spec.name, "holds lists with nulls inside")
    listed = _numbers(flat, spec).reshape(-1, *spec.shape)
    if valid is None:
        return Cells(listed)
    values = np.zeros((len(array), *spec.shape), spec.storage)
    values[valid] = listed
    return Cells(values, valid)


def refuse(name: str, reason: str) -> NoReturn:
    """Refuse the file because of one column.

    Raises:
        ImportRefused: Always.
    """
    raise ImportRefused("unsupported-column", f"column {name!r} {reason}", {"columns": 1})


def _number_type(field: pa.Field, dtype: pa.DataType) -> str:
    """Return our name of an Arrow number type.

    Raises:
        ImportRefused: It is no number (``unsupported-column``).
    """
    if pa.types.is_boolean(dtype):
        return "bool"
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return str(np.dtype(dtype.to_pandas_dtype()).name)
    refuse(field.name, f"is of type {field.type}; numbers, strings and lists of numbers are kept")


def _value_type(dtype: pa.DataType) -> pa.DataType:
    return dtype.value_type if pa.types.is_dictionary(dtype) else dtype


def _is_string(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(dtype)
        or pa.types.is_large_string(dtype)
        or pa.types.is_string_view(dtype)
    )


def _decoded(array: pa.Array) -> pa.Array:
    """Return a dictionary-encoded array in full."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _zero(dtype: pa.DataType) -> pa.Scalar:
    return pa.scalar(0, pa.uint8()).cast(dtype)


def _numbers(array: pa.Array, spec: ColumnSpec) -> NDArray[Any]:
    """Return an array without nulls as numpy."""
    if spec.dtype == "bool":
        array = array.cast(pa.uint8())
    # The element type is the column's, known while running: Any.
    numbers: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _packed(array: pa.Array, name: str) -> PackedStrings:
    """Return an array of strings without nulls.

    Raises:
        ImportRefused: The bytes are not UTF-8 (``unsupported-column``).
    """
    array = array.cast(pa.large_string())
    try:
        # Readers of Parquet do not check this.
        array.validate(full=True)
    except pa.ArrowInvalid:
        refuse(name, "holds strings that are not UTF-8")
    _, places, content = array.buffers()
    offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    end = int(offsets[-1])
    data = np.zeros(end + SLACK, np.uint8)
    if content is not None:
        data[:end] = np.frombuffer(content, np.uint8)[:end]
    return PackedStrings(data, offsets[:-1], np.diff(offsets))
