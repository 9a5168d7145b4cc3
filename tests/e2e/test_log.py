"""The log of a busy service, checked from outside with what anybody may read."""

from pathlib import Path

import pytest

from app.client.connection import Document
from benchmarks.sealing.service import exercise, wrong
from tests.e2e.controller import Controller

WHOLE = {"gaps": 0, "forks": 0, "lost": 0}


def doctored(trail: list[Document], place: int, **changes: object) -> list[Document]:
    """Return a copy in which one entry says something else."""
    return [*trail[:place], trail[place] | changes, *trail[place + 1 :]]


@pytest.mark.slow
def test_many_clients_leave_one_tree(controller: Controller, folder: Path) -> None:
    trail, notes = exercise(controller, folder, 150)

    assert len(trail) >= 150
    assert len(notes) > 2
    assert {"dataset", "job", "request", "certificate"} <= {
        entry["entity"]["kind"] for entry in trail
    }
    assert wrong(controller, trail, notes) == WHOLE
    # The check itself would notice.
    middle = len(trail) // 2
    assert wrong(controller, doctored(trail, middle, leaf_hash="00" * 32), notes)["forks"] > 0
    assert wrong(controller, doctored(trail, middle, index=middle - 1), notes)["gaps"] > 0
    changed = next(place for place, entry in enumerate(trail) if entry["from"] is not None)
    assert wrong(controller, doctored(trail, changed, to="elsewhere"), notes)["lost"] > 0
    assert wrong(controller, doctored(trail, changed, to=None), notes)["lost"] > 0
