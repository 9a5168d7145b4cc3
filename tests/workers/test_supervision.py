"""The loops of the supervision go on whatever happens inside."""

import threading

from workers.supervision import repeat


def test_a_failing_tick_is_tried_again_and_recovers() -> None:
    stop = threading.Event()
    calls: list[int] = []

    def tick() -> None:
        calls.append(len(calls))
        if len(calls) < 3:
            raise ConnectionError("the broker is down")
        if len(calls) == 5:
            stop.set()

    repeat(tick, 0.001, stop)
    assert calls == [0, 1, 2, 3, 4]


def test_stopping_ends_the_pause() -> None:
    stop = threading.Event()
    loop = threading.Thread(target=repeat, args=(lambda: None, 3600.0, stop))
    loop.start()
    stop.set()
    loop.join(5)
    assert not loop.is_alive()
