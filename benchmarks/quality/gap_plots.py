"""Pictures of a study: gap closed against cost, and against share of parameters.

What lies beyond a picture is drawn at its edge, and marks that would hide each other stand a few
percent to the right of where they belong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.quality.resampling import Interval

_WIDTH, _HEIGHT = 5.0, 4.2
# Below this the gap has widened so much that a picture need not say by how much.
_LOWEST = -0.5
_APART = 1.025


@dataclass(frozen=True)
class Point:
    """One method in a picture.

    Attributes:
        name: Of the method.
        changed: Share of the parameters.
        time: Share of a retraining.
        closed: Of two measures by name, the share of the gap that is closed.
    """

    name: str
    changed: float
    time: float
    closed: Mapping[str, Interval]


@dataclass(frozen=True)
class Bars:
    """What a study asks for, drawn as dotted lines.

    Attributes:
        closed: Shares of the gap.
        parameters: Most parameters, as a share.
        time: Most time, as a share of a retraining.
        highest: Share of the gap at the upper edge.
    """

    closed: tuple[float, ...]
    parameters: float
    time: float
    highest: float = 1.5


def draw_cost(cases: Mapping[str, Sequence[Point]], bars: Bars, title: str, file: Path) -> None:
    """Draw the gap closed against the cost, a panel for each case.

    Args:
        cases: Points by case.
        bars: What is asked for.
        title: Of the picture.
        file: PNG to write.
    """
    figure, panels = _panels(list(cases), title)
    for panel, points in zip(panels, cases.values(), strict=True):
        for number, point in enumerate(points):
            _mark(panel, point, bars, f"C{number % 10}", "os^vD"[number // 10])
        _frame(panel, bars, bars.time, "share of a retraining's time")
    panels[-1].legend(fontsize=6, loc="center left", bbox_to_anchor=(1.02, 0.5))
    _write(figure, file)


def draw_share(
    cases: Mapping[str, Mapping[str, Sequence[Point]]], bars: Bars, title: str, file: Path
) -> None:
    """Draw the gap closed against the share of the parameters, a line for each method.

    Args:
        cases: By case and method, points in the order of their shares.
        bars: What is asked for.
        title: Of the picture.
        file: PNG to write.
    """
    figure, panels = _panels(list(cases), title)
    for panel, lines in zip(panels, cases.values(), strict=True):
        for number, (name, points) in enumerate(lines.items()):
            across = [point.changed * _APART**number for point in points]
            for measure, style in zip(points[0].closed, ("-o", "--^"), strict=True):
                shares = [point.closed[measure] for point in points]
                panel.errorbar(
                    across,
                    [_inside(share.share, bars) for share in shares],
                    yerr=_error(shares, bars),
                    fmt=style,
                    color=f"C{number}",
                    capsize=2,
                    linewidth=1,
                    markersize=4,
                    label=f"{name}, {measure}",
                )
        _frame(panel, bars, bars.parameters, "share of the parameters")
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


def _mark(panel: Axes, point: Point, bars: Bars, colour: str, marker: str) -> None:
    """The first measure filled, the second hollow."""
    for closed, fill in zip(point.closed.values(), (colour, "none"), strict=True):
        panel.errorbar(
            [point.time * (1 if fill == colour else _APART)],
            [_inside(closed.share, bars)],
            yerr=_error([closed], bars),
            fmt=marker,
            color=colour,
            markerfacecolor=fill,
            capsize=2,
            linewidth=0.7,
            label=point.name.strip() if fill == colour else None,
        )


def _error(shares: Sequence[Interval], bars: Bars) -> list[list[float]]:
    """Lengths of the bars below and above; an estimate may lie outside its interval."""
    at = [_inside(share.share, bars) for share in shares]
    ends = [(_inside(share.low, bars), _inside(share.high, bars)) for share in shares]
    return [
        [max(0.0, middle - low) for middle, (low, _) in zip(at, ends, strict=True)],
        [max(0.0, high - middle) for middle, (_, high) in zip(at, ends, strict=True)],
    ]


def _inside(share: float, bars: Bars) -> float:
    """The share, or the edge that is nearest to it; nothing is drawn of one that is not known."""
    return share if math.isnan(share) else min(max(share, _LOWEST), bars.highest)


def _frame(panel: Axes, bars: Bars, limit: float, across: str) -> None:
    panel.set_xscale("log")
    panel.set_xlabel(across)
    panel.set_ylim(_LOWEST, bars.highest)
    panel.axhline(1.0, color="black", linewidth=0.7)
    for share in bars.closed:
        panel.axhline(share, color="grey", linewidth=0.7, linestyle=":")
    panel.axvline(limit, color="grey", linewidth=0.7, linestyle=":")


def _write(figure: Figure, file: Path) -> None:
    with mpl.rc_context({"font.size": 8}):
        figure.savefig(file, dpi=140)
