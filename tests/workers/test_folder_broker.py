"""The folder as a broker: every message once, in order, and no trouble with a missing folder."""

import shutil
import threading
from pathlib import Path
from typing import Any

from kombu import Connection

from app.infra.settings import Settings
from workers.folder_broker import OPTION, install
from workers.main import make_application
from workers.ringing import ring


def connection(folder: Path) -> Connection:
    install()
    return Connection("filesystem://", transport_options={OPTION: str(folder)})


def test_messages_come_in_order_and_once(tmp_path: Path) -> None:
    with connection(tmp_path / "broker") as link:
        queue = link.SimpleQueue("q")
        for number in range(5):
            queue.put({"number": number})
        assert queue.qsize() == 5
        seen = []
        for _ in range(5):
            message = queue.get(timeout=5)
            message.ack()
            seen.append(message.payload["number"])
        assert seen == [0, 1, 2, 3, 4]
        assert list((tmp_path / "broker").iterdir()) == []
        queue.close()


def test_queues_do_not_mix(tmp_path: Path) -> None:
    with connection(tmp_path) as link:
        ours, theirs = link.SimpleQueue("ours"), link.SimpleQueue("theirs")
        theirs.put({"whose": "theirs"})
        assert ours.qsize() == 0
        assert theirs.clear() == 1
        ours.close()
        theirs.close()


def test_two_readers_share_the_messages(tmp_path: Path) -> None:
    count = 60
    config = Settings(home=tmp_path, broker_url="filesystem://")
    ring(make_application(config), [f"job_{number}" for number in range(count)])
    taken: list[list[Any]] = [[], []]

    def read(mine: list[Any]) -> None:
        with connection(config.broker_folder) as link:
            queue = link.SimpleQueue("lethe")
            while queue.qsize():
                try:
                    message = queue.get(timeout=0.2)
                except queue.Empty:
                    continue
                message.ack()
                mine.append(message.payload[0][0])
            queue.close()

    readers = [threading.Thread(target=read, args=(mine,)) for mine in taken]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert sorted(taken[0] + taken[1]) == sorted(f"job_{number}" for number in range(count))


def test_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    with connection(tmp_path / "broker") as link:
        queue = link.SimpleQueue("q")
        queue.put({"number": 0})
        shutil.rmtree(tmp_path / "broker")
        assert queue.qsize() == 0
        queue.put({"number": 1})
        assert queue.get(timeout=5).payload == {"number": 1}
        queue.close()
