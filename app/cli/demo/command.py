"""``lethe demo``: the whole service on this machine, a correction and a deletion, one table."""

import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from types import FrameType

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.demo.ending import ending_on_sigterm
from app.cli.demo.preparation import prepare
from app.cli.demo.story import Told, tell
from app.cli.demo.table import show, show_entries, time_share
from app.cli.errors import CommandFailed
from app.cli.temporary import temporary_service
from app.client import ClientError

THREADS = 1
"""Of torch, in the worker and here: retraining and unlearning are compared."""
WIDTH = 140
"""Columns of a table that goes to a file."""
LEAST_RESTORED = 0.90
MOST_CHANGED = 0.05
AIMED_TIME_SHARE = 0.20


def demo(seeds: int, most_epochs: int) -> None:
    """Correct wrong labels and delete a person's rows on this machine; print one table.

    The process ends with status 1 if anything is not as it should be.

    Args:
        seeds: How often everything is done.
        most_epochs: How far training looks for a better accuracy.
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        stories = run(console, seeds, most_epochs)
    except (CommandFailed, ClientError) as error:
        lines = "\n".join((f"failed: {error}", *getattr(error, "__notes__", ())))
        console.print(lines, style="bold red", markup=False, highlight=False)
        sys.exit(1)
    show(console, stories)
    show_entries(console, stories[-1])
    for line in stories[-1].evidence:
        console.print(f"evidence: {line}", highlight=False, markup=False)
    if faults := judge(console, stories):
        for fault in faults:
            console.print(f"failed: {fault}", style="bold red", markup=False)
        sys.exit(1)


def run(console: Console, seeds: int, most_epochs: int) -> list[Told]:
    """Train, start the service, tell the story of every seed, and leave nothing behind."""
    torch.set_num_threads(THREADS)
    bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*bars, console=console, transient=True) as progress:
        # The service is not running yet: nothing disturbs the time that retraining takes.
        with ending_on_sigterm():
            prepared = [prepare(1 + n, most_epochs, progress) for n in range(seeds)]
        epochs = ", ".join(str(p.corrected.epochs) for p in prepared)
        console.print(f"trained from scratch; accuracy levels off after {epochs} epochs")
        stories = []
        with (
            tempfile.TemporaryDirectory(prefix="lethe-demo-") as folder,
            temporary_service(THREADS) as client,
            ending_on_sigterm(),
        ):
            console.print("the service is up, on this machine only")
            for one in prepared:
                stories.append(tell(client, one, Path(folder), progress))
                console.print(f"seed {one.seed}: corrected and deleted")
    return stories


def judge(console: Console, stories: Sequence[Told]) -> list[str]:
    """Print the figures that count and return what is not as it should be."""
    corrections = [told.correction for told in stories]
    restored = fmean(outcome.restored_share for outcome in corrections)
    changed = max(outcome.changed_share for outcome in corrections)
    share = time_share(corrections)
    for line in (
        f"{restored:.1%} of the lost accuracy is back (at least {LEAST_RESTORED:.0%})",
        f"{changed:.2%} of the parameters changed (at most {MOST_CHANGED:.0%})",
        f"{share:.1%} of the retraining time (aim {AIMED_TIME_SHARE:.0%})",
    ):
        console.print(f"correction: {line}", highlight=False)
    faults = [
        f"seed {told.seed}: {fault}"
        for told in stories
        for fault in (*told.correction.faults, *told.deletion.faults)
    ]
    if not restored >= LEAST_RESTORED:
        faults.append(f"only {restored:.1%} of the lost accuracy is back")
    if changed > MOST_CHANGED:
        faults.append(f"the correction changed {changed:.2%} of the parameters")
    return faults


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that the service is stopped and its folder removed."""
    sys.exit(128 + number)
