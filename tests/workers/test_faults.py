"""Fault points: they hold the first that comes, and nobody without being asked."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.infra.settings import settings
from workers import faults


@pytest.fixture
def paused_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Settings that pause at two points; the list collects how long was slept.

    Sleeping releases whoever sleeps.
    """
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        for marker in (tmp_path / "staging").iterdir():
            marker.write_text("go on")

    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    monkeypatch.setenv("LETHE_TEST_PAUSE", "after-claim,after-store")
    monkeypatch.setattr(time, "sleep", sleep)
    settings.cache_clear()
    yield slept
    settings.cache_clear()


def test_only_the_first_to_come_waits(paused_points: list[float]) -> None:
    faults.pause_at("after-store")
    faults.pause_at("after-store")
    assert len(paused_points) == 1
    assert faults.marker_of("after-store").exists()


def test_other_points_are_passed(paused_points: list[float]) -> None:
    faults.pause_at("mid-update")
    assert paused_points == []
    assert not faults.marker_of("mid-update").exists()


def test_unknown_points_are_refused(paused_points: list[float]) -> None:
    with pytest.raises(ValueError):
        faults.pause_at("somewhere")
