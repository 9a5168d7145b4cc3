"""The archive that holds all evidence about one request, and its folder.

``docs/evidence.md`` describes the files. An archive is read only if it is byte for byte the
one that ``pack`` writes of its files: no compression, fixed order and dates. Then nothing can
hide between them, no two programs can see different files in it, and no changed byte of the
archive itself goes unnoticed.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from app.ledger.errors import MalformedEvidence

README = "README.txt"
KEYS = "keys.json"
CHECKPOINT = "checkpoint.txt"
ENVELOPE = "certificate.dsse.json"
LEAF = "certificate.leaf.json"
PROOF = "certificate.tlog-proof"

MOST_FILES = 4096
LARGEST_EVIDENCE = 1 << 26
"""Bytes of all files together."""
LARGEST_ARCHIVE = LARGEST_EVIDENCE + MOST_FILES * 1024
"""Bytes; a name of at most 128 bytes stands twice, with less than 100 bytes beside each."""

_NAME = re.compile(
    r"README\.txt|keys\.json|checkpoint\.txt"
    r"|(followups/[0-9]{1,4}/)?certificate\.(dsse\.json|leaf\.json|tlog-proof)"
    r"|entries/[0-9]{1,19}\.(json|tlog-proof)|consistency/[0-9]{1,19}\.json"
    r"|reports/[A-Za-z0-9][A-Za-z0-9_-]{0,99}\.json"
)
# What zipfile raises on archives that are none, cut short, or made to break it.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, ArithmeticError,
    LookupError, MemoryError,
)  # fmt: skip


def pack(files: Mapping[str, bytes]) -> bytes:
    """Write evidence as an archive.

    Args:
        files: Content by name.

    Returns:
        The same bytes for the same files, always.

    Raises:
        MalformedEvidence: A name is not part of the layout, or there is too much.
    """
    _check(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """Read an archive.

    Raises:
        MalformedEvidence: Not an archive that ``pack`` writes.
    """
    if len(data) > LARGEST_ARCHIVE:
        raise MalformedEvidence("the archive is too large")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > LARGEST_EVIDENCE:
                raise MalformedEvidence("the archive holds too much")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise MalformedEvidence("the archive is compressed; it was packed otherwise")
            files = {info.filename: archive.read(info) for info in infos}
    except _BROKEN as error:
        raise MalformedEvidence("the archive is no zip, or damaged") from error
    if pack(files) != data:
        raise MalformedEvidence("the archive is not as it was packed")
    return files


def read_evidence(path: Path) -> dict[str, bytes]:
    """Read an archive, or the folder into which one was unpacked.

    Raises:
        MalformedEvidence: It cannot be read, or does not have the layout.
    """
    try:
        if not path.is_dir():
            if path.stat().st_size > LARGEST_ARCHIVE:
                raise MalformedEvidence("the archive is too large")
            return unpack(path.read_bytes())
        files = dict(_in_folder(path))
    except OSError as error:
        raise MalformedEvidence("the evidence cannot be read") from error
    _check(files)
    return files


def _in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    room = LARGEST_EVIDENCE
    for count, path in enumerate(folder.rglob("*")):
        if path.is_symlink() or count > 2 * MOST_FILES:
            raise MalformedEvidence("the folder holds a link or too many files")
        if path.is_file():
            room -= path.stat().st_size
            if room < 0:
                raise MalformedEvidence("the folder holds too much")
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _check(files: Mapping[str, bytes]) -> None:
    if len(files) > MOST_FILES or sum(map(len, files.values())) > LARGEST_EVIDENCE:
        raise MalformedEvidence("the evidence holds too much")
    if not all(map(_NAME.fullmatch, files)):
        raise MalformedEvidence("the evidence holds a file that does not belong to it")
