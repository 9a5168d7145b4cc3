"""A broker that is a folder: one file for each message, for ``filesystem://``.

Stands in for kombu's own transport of that name, which lets a reader see half a message and gives
up when its folder is gone. Here a message appears by a rename with all its bytes, is taken by a
rename, and a missing folder is an empty one. Messages are only bells, so nothing is synced.
"""

import json
import time
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, virtual

SCHEME = "filesystem"
OPTION = "folder"


class Channel(virtual.Channel):
    """Queues as files ``<time>-<random>.<queue>.msg``, taken in the order of their names."""

    def _folder(self) -> Path:
        folder = Path(self.connection.client.transport_options[OPTION])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _messages(self, queue: str) -> list[Path]:
        return sorted(self._folder().glob(f"[!.]*.{queue}.msg"))

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        name = f"{time.time_ns():020}-{uuid4().hex}.{queue}.msg"
        partial = self._folder() / f".{name}"
        partial.write_text(json.dumps(message))
        partial.rename(partial.with_name(name))

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        for path in self._messages(queue):
            taken = path.with_name(f".{path.name}-taken-{uuid4().hex}")
            try:
                path.rename(taken)
                message: dict[str, Any] = json.loads(taken.read_text())
                taken.unlink()
            except FileNotFoundError:
                continue  # Another worker was faster, or the folder was just emptied.
            return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._messages(queue))

    def _purge(self, queue: str) -> int:
        messages = self._messages(queue)
        for path in messages:
            path.unlink(missing_ok=True)
        return len(messages)


class Transport(virtual.Transport):
    """What kombu asks for by the scheme of the address."""

    Channel = Channel
    driver_type = SCHEME
    driver_name = SCHEME
    global_state = virtual.BrokerState()

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.state = self.global_state

    def driver_version(self) -> str:
        """Return nothing that could matter."""
        return "N/A"


def install() -> None:
    """Let ``filesystem://`` mean this transport in this process."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
