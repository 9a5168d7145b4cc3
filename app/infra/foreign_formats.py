"""What a file is, by its first bytes, when it is not a safetensors file.

Names come from the formats' magic numbers; a file's name and declared type are not asked.
"""

from typing import Final

_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"PK\x03\x04", "zip archive (.pt, .pth, .pt2, .npz)"),
    (0, b"PK\x05\x06", "zip archive (empty)"),
    (0, b"PK\x07\x08", "zip archive (spanned)"),
    (257, b"ustar", "tar archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstandard"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (0, b"Rar!\x1a\x07", "rar archive"),
    (0, b"\x93NUMPY", "numpy (.npy)"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"CDF\x01", "netcdf"),
    (0, b"CDF\x02", "netcdf"),
    (0, b"PAR1", "parquet"),
    (0, b"ARROW1", "arrow"),
    (0, b"GGUF", "gguf"),
    (0, b"lmgg", "ggml"),
    (0, b"tjgg", "ggml"),
    (4, b"TFL3", "tensorflow lite"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (0, b"version https://git-lfs", "git-lfs pointer"),
    (0, b"\x7fELF", "elf executable"),
    (0, b"MZ", "windows executable"),
    (0, b"%PDF", "pdf"),
    (0, b"<!DOCTYPE", "html"),
    (0, b"<html", "html"),
)

# Protocols 2 to 5 begin with the opcode PROTO and their number (PEP 307, 3154, 574).
_PICKLE_PROTOCOLS: Final = tuple(bytes([0x80, number]) for number in range(2, 6))
# Protocols 0 and 1 have no magic: these are how dictionaries, lists, tuples and classes begin.
_OLD_PICKLES: Final = (b"(dp", b"(lp", b"(tp", b"}q", b"]q", b"(i", b"ccopy_reg", b"c__builtin__",
                       b"cnumpy", b"ctorch", b"ccollections")  # fmt: skip
# zlib streams have no magic either; these are the headers of the usual compression levels.
_ZLIB: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


def name_of_format(prefix: bytes) -> str:
    r"""Name the format a file begins like.

    >>> name_of_format(b"\x80\x04\x95")
    'pickle'
    >>> name_of_format(bytes(20))
    'unknown'

    Args:
        prefix: The first bytes, at best 512.

    Returns:
        A short name for people, or ``unknown``.
    """
    if not prefix:
        return "empty file"
    for position, magic, name in _MAGIC:
        if prefix[position : position + len(magic)] == magic:
            return name
    if prefix.startswith((*_PICKLE_PROTOCOLS, *_OLD_PICKLES)):
        return "pickle"
    if prefix.startswith(_ZLIB):
        return "zlib (joblib)"
    if prefix.lstrip()[:1] in {b"{", b"["}:
        return "json text"
    return "unknown"
