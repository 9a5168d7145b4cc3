"""Leaving a piece of work on SIGTERM, for certain."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_SECONDS = 1.0


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Raise ``SystemExit`` in the body on SIGTERM, and again every second until it is left.

    Once is not enough: Python drops an exception that happens to be raised in a finaliser or in
    the callback of a weak reference, and the work would go on to its end. Main thread only.
    """
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    raise SystemExit(128 + signal.SIGTERM)
