"""What ``lethe up`` decides before it starts anything."""

import socket
import stat
from pathlib import Path

import pytest

from app.cli.up import PortTaken, bootstrap_key, child_environment, service
from app.infra.settings import Settings


def test_made_up_key_is_kept_and_private(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, bootstrap_key=None)
    key = bootstrap_key(config)
    assert bootstrap_key(config) == key
    assert key.startswith("lethe_")
    assert len(key) == len("lethe_") + 43
    assert stat.S_IMODE((tmp_path / "bootstrap.key").stat().st_mode) == 0o600


def test_operators_key_is_taken_and_not_written(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, bootstrap_key="lethe_given")  # type: ignore[arg-type]  # pydantic wraps it
    assert bootstrap_key(config) == "lethe_given"
    assert list(tmp_path.iterdir()) == []


def test_children_hear_what_was_decided(tmp_path: Path) -> None:
    config = Settings(home=tmp_path, port=4321, threads=2)
    environment = child_environment(config, "k")
    assert environment["LETHE_HOME"] == str(tmp_path)
    assert environment["LETHE_PORT"] == "4321"
    assert environment["OMP_NUM_THREADS"] == "2"


def test_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = Settings(home=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(PortTaken):
            service(config, print)
