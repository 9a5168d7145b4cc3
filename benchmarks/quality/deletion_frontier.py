"""What the deletion study draws: gap closed against cost, and against share of parameters."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.quality.deletion_controls import salun
from benchmarks.quality.deletion_measures import CLOSED, MOST_PARAMETERS, MOST_TIME
from benchmarks.quality.deletion_runs import FREELY, OURS, Line, Way
from benchmarks.quality.gap_plots import Bars, Point, draw_cost, draw_share

BARS: Final = Bars(CLOSED, MOST_PARAMETERS, MOST_TIME, highest=2.5)
SHARES: Final = (0.01, 0.02, 0.05, 0.1)
FRONTIER: Final[Mapping[str, Callable[[float], Way]]] = {
    "ours": lambda share: (OURS, {**FREELY, "fraction": share}),
    "random mask, all else equal": lambda share: (
        OURS,
        {**FREELY, "fraction": share, "mask": "random"},
    ),
    "SalUn, equal cost": lambda share: partial(salun, share=share),
    "saps": lambda share: ("saps", {"fraction": share}),
}
"""What is drawn against the share of the parameters."""
WAYS: Final[Mapping[tuple[str, float], Way]] = {
    (name, share): make(share) for name, make in FRONTIER.items() for share in SHARES
}
"""The same by method and share."""


def point_of(name: str, line: Line) -> Point:
    """A method as a picture shows it: means over the runs, and the interval of its line.

    Raises:
        ValueError: The line has no interval yet.
    """
    if line.interval is None:
        raise ValueError(f"no interval of {name}")
    closed = dict(zip(("accuracy", "loss"), line.interval, strict=True))
    return Point(name, mean(line.changed), mean(line.time), closed)


def draw(
    lines: Mapping[str, Mapping[str, Line]],
    along: Mapping[str, Mapping[tuple[str, float], Line]],
    title: str,
    folder: Path,
) -> None:
    """Write two pictures, ``<title>_cost.png`` and ``<title>_share.png``.

    Args:
        lines: By deletion and method.
        along: By deletion, method and share, see ``WAYS``.
        title: Of the pictures.
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    costs = {
        deletion: [point_of(*pair) for pair in found.items()] for deletion, found in lines.items()
    }
    draw_cost(costs, BARS, title, folder / f"{title}_cost.png")
    shares = {
        deletion: {
            name: [point_of(name, found[name, share]) for share in SHARES] for name in FRONTIER
        }
        for deletion, found in along.items()
    }
    draw_share(shares, BARS, title, folder / f"{title}_share.png")
