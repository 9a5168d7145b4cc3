"""A lease that is kept alive, lost, or told to stop."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.domain.actions import running
from app.domain.actions.running import Pulse
from app.domain.errors import FenceLost
from app.infra import db
from workers.lease import SPANS, Lease, Stopped


class Answers:
    """Stands for the database's answers, which cannot be made to fail on demand."""

    def __init__(self) -> None:
        self.heartbeats = 0
        self.reported: list[tuple[str, float]] = []
        self.pulse = Pulse.ALIVE

    def heartbeat(self, tx: Any, job_id: str, fence: int) -> Pulse:
        self.heartbeats += 1
        return self.pulse

    def progress(self, tx: Any, job_id: str, fence: int, phase: str, fraction: float) -> Pulse:
        self.reported.append((phase, fraction))
        return self.pulse


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    from contextlib import contextmanager

    @contextmanager
    def no_transaction() -> Iterator[None]:
        yield None

    answers = Answers()
    monkeypatch.setattr(db, "writing", no_transaction)
    monkeypatch.setattr(running, "heartbeat", answers.heartbeat)
    monkeypatch.setattr(running, "progress", answers.progress)
    return answers


def soon(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return is_so()


def lease() -> Lease:
    return Lease("job_a", "unlearn", 3, seconds=0.04)


def test_it_beats_until_it_is_left(answers: Answers) -> None:
    with lease():
        assert soon(lambda: answers.heartbeats >= 3)
    after = answers.heartbeats
    time.sleep(0.05)
    assert answers.heartbeats == after


def test_a_lost_lease_stops_the_work_at_its_next_report(answers: Answers) -> None:
    with lease() as kept:
        kept.report("loading", 0.0)
        answers.pulse = Pulse.LOST
        assert soon(lambda: kept._pulse is Pulse.LOST)
        with pytest.raises(FenceLost):
            kept.report("loading", 0.5)


def test_a_cancellation_stops_the_work_even_between_reports(answers: Answers) -> None:
    with lease() as kept:
        answers.pulse = Pulse.CANCEL
        assert soon(lambda: kept._pulse is Pulse.CANCEL)
        with pytest.raises(Stopped):
            kept.check()


def test_every_phase_is_reported_but_not_every_fraction(answers: Answers) -> None:
    with Lease("job_a", "unlearn", 3, seconds=60.0) as kept:
        for phase in SPANS:
            for step in range(100):
                kept.report(phase, step / 100)
    assert [phase for phase, _ in answers.reported if phase] == list(SPANS)


def test_spans_cover_the_whole_job_once() -> None:
    edges = [edge for span in SPANS.values() for edge in span]
    assert edges[0] == 0.0
    assert edges[-1] == 1.0
    assert edges[1:-1:2] == edges[2::2]
