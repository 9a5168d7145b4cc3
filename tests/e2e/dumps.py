"""Everything a service holds, as whoever steals it would have it: without the keys.

Files of the data folder, every table as it is read, on PostgreSQL also the raw files with free
pages and the write-ahead log, and the messages of the broker.
"""

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from sqlalchemy import text

from app.domain.tables import metadata
from app.infra.db import make_engine
from tests.e2e.service import Service

KEY_FILES = ("secret.key", "signing.json", "bootstrap.key")
KEY_FOLDER = "keys"
ZERO_PAGE = bytes(8192)


@dataclass(frozen=True)
class Dump:
    """What was taken.

    Attributes:
        files: Content by name.
        values: Every value of every table that is bytes.
    """

    files: dict[str, bytes]
    values: list[bytes]

    def holding(self, needle: bytes) -> list[str]:
        """Return the names of the files in which something occurs."""
        return [name for name, content in self.files.items() if needle in content]

    def tokens(self) -> set[bytes]:
        """Return every string of 32 bytes that stands out: as a value, in hexadecimal or base 64.

        What could be a key, and what could be a digest.
        """
        found = {value for value in self.values if len(value) == 32}
        # A box begins with its nonce; whoever does not know that tries its beginning and its end.
        boxes = [value for value in self.values if len(value) > 32]
        found |= {part for box in boxes for part in (box[:32], box[-32:])}
        for content in self.files.values():
            found |= {bytes.fromhex(item.decode()) for item in HEXADECIMAL.findall(content)}
            found |= {base64.b64decode(item) for item in BASE64.findall(content)}
        return found


HEXADECIMAL = re.compile(rb"(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")
BASE64 = re.compile(rb"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=")


def taken_from(service: Service, *evidence: Path) -> Dump:
    """Take everything but the keys; ``evidence``: what was handed out and may lie anywhere."""
    files = {}
    for path in service.home.rglob("*"):
        place = path.relative_to(service.home)
        if path.is_file() and place.parts[0] != KEY_FOLDER and place.name not in KEY_FILES:
            files[str(place)] = path.read_bytes()
    files |= {f"evidence/{path.name}": path.read_bytes() for path in evidence}
    values: list[bytes] = []
    engine = make_engine(service.config.database_url)
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            rows = [tuple(row) for row in connection.execute(table.select())]
            values += [bytes(cell) for row in rows for cell in row if isinstance(cell, bytes)]
            files[f"table/{name}"] = b"\n".join(_written(cell) for row in rows for cell in row)
        if connection.dialect.name == "postgresql":
            connection.execute(text("CHECKPOINT"))
            folder = Path(connection.scalar(text("SHOW data_directory")) or "")
            oid = connection.scalar(
                text("SELECT oid FROM pg_database WHERE datname = current_database()")
            )
            files |= dict(_raw(folder, f"base/{oid}"))
            files |= dict(_raw(folder, "pg_wal"))
    engine.dispose()
    files |= dict(_messages(service))
    return Dump(files, values)


def _written(cell: object) -> bytes:
    if isinstance(cell, bytes):
        return cell
    return (cell if isinstance(cell, str) else json.dumps(cell, default=str)).encode()


def _raw(folder: Path, below: str) -> Iterator[tuple[str, bytes]]:
    """Yield PostgreSQL's own files without pages that were never written."""
    for path in (folder / below).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            pages = (content[place : place + 8192] for place in range(0, len(content), 8192))
            yield f"raw/{below}/{path.name}", b"".join(page for page in pages if any(page))


def _messages(service: Service) -> Iterator[tuple[str, bytes]]:
    url = service.config.broker_url
    if not url.startswith("redis"):
        return
    with redis.Redis.from_url(url) as client:
        for name in client.scan_iter():
            kind = client.type(name)
            content = {
                b"string": lambda name=name: client.get(name),
                b"list": lambda name=name: client.lrange(name, 0, -1),
                b"hash": lambda name=name: client.hgetall(name),
                b"set": lambda name=name: client.smembers(name),
                b"zset": lambda name=name: client.zrange(name, 0, -1),
            }[kind]()
            yield f"broker/{name!r}", repr(content).encode()
