"""Pictures of the correction study: gap closed against cost, and against share of parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.correction_measures import (
    LEAST_CLOSED,
    MOST_PARAMETERS,
    MOST_TIME,
    Interval,
)

_WIDTH, _HEIGHT = 5.0, 4.2
# Below this the gap has widened so much that a picture need not say by how much.
_LOWEST, _HIGHEST = -0.5, 1.5


@dataclass(frozen=True)
class Point:
    """One method in a picture.

    Attributes:
        name: Of the method.
        changed: Share of the parameters.
        time: Share of a retraining.
        accuracy: Share of the gap in accuracy that is closed.
        recall: The same of recall.
    """

    name: str
    changed: float
    time: float
    accuracy: Interval
    recall: Interval


def draw_cost(cases: Mapping[str, Sequence[Point]], title: str, file: Path) -> None:
    """Draw the gap closed against the cost, a panel for each case.

    Args:
        cases: Points by case.
        title: Of the picture.
        file: PNG to write.
    """
    figure, panels = _panels(list(cases), title)
    for panel, points in zip(panels, cases.values(), strict=True):
        for number, point in enumerate(points):
            _mark(panel, point.time, point, f"C{number % 10}", "os^vD"[number // 10])
        _frame(panel, MOST_TIME, "share of a retraining's time")
    panels[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5))
    _write(figure, file)


def draw_share(cases: Mapping[str, Mapping[str, Sequence[Point]]], title: str, file: Path) -> None:
    """Draw the gap closed against the share of the parameters, a line for each method.

    Args:
        cases: By case and method, points in the order of their shares.
        title: Of the picture.
        file: PNG to write.
    """
    figure, panels = _panels(list(cases), title)
    for panel, lines in zip(panels, cases.values(), strict=True):
        for number, (name, points) in enumerate(lines.items()):
            across = [point.changed for point in points]
            for closed, style in (("accuracy", "-o"), ("recall", "--^")):
                shares = [getattr(point, closed) for point in points]
                panel.errorbar(
                    across,
                    [share.share for share in shares],
                    yerr=_error(shares),
                    fmt=style,
                    color=f"C{number}",
                    capsize=2,
                    linewidth=1,
                    markersize=4,
                    label=f"{name}, {closed}",
                )
        _frame(panel, MOST_PARAMETERS, "share of the parameters")
    panels[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5))
    _write(figure, file)


def _panels(names: Sequence[str], title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH * len(names) + 2, _HEIGHT), layout="constrained")
    figure.suptitle(title)
    panels = list(figure.subplots(1, len(names), squeeze=False)[0])
    for panel, name in zip(panels, names, strict=True):
        panel.set_title(name)
    panels[0].set_ylabel("gap to retraining closed")
    return figure, panels


def _mark(panel: Axes, across: float, point: Point, colour: str, marker: str) -> None:
    """Accuracy filled, recall hollow."""
    for closed, fill in ((point.accuracy, colour), (point.recall, "none")):
        panel.errorbar(
            [across],
            [closed.share],
            yerr=_error([closed]),
            fmt=marker,
            color=colour,
            markerfacecolor=fill,
            capsize=2,
            linewidth=0.7,
            label=point.name.strip() if fill == colour else None,
        )


def _error(shares: Sequence[Interval]) -> list[list[float]]:
    """Lengths of the bars below and above; an estimate may lie outside its interval."""
    return [
        [max(0.0, share.share - share.low) for share in shares],
        [max(0.0, share.high - share.share) for share in shares],
    ]


def _frame(panel: Axes, limit: float, across: str) -> None:
    panel.set_xscale("log")
    panel.set_xlabel(across)
    panel.set_ylim(_LOWEST, _HIGHEST)
    panel.axhline(1.0, color="black", linewidth=0.7)
    panel.axhline(LEAST_CLOSED, color="grey", linewidth=0.7, linestyle=":")
    panel.axvline(limit, color="grey", linewidth=0.7, linestyle=":")


def _write(figure: Figure, file: Path) -> None:
    with mpl.rc_context({"font.size": 8}):
        figure.savefig(file, dpi=140)
