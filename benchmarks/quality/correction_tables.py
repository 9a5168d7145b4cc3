"""The table of one case of the correction study, and what stands below it."""

from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.quality.correction_measures import Figures, Seen, Yardstick
from benchmarks.quality.correction_methods import OURS
from benchmarks.quality.resampling import Interval


@dataclass(frozen=True)
class Line:
    """One method over the originals.

    Attributes:
        seen: What it made of each.
        changed: Share of the parameters, mean.
        time: Share of a retraining, mean.
        chosen: Methods of the library that ran.
    """

    seen: list[Seen]
    changed: float
    time: float
    chosen: frozenset[str]


def table_of(title: str, lines: dict[str, Line], yardstick: Yardstick) -> Table:
    """Lay the figures out; the last line is what two retrained networks differ by."""
    table = Table(title=title, box=SIMPLE)
    table.add_column("", no_wrap=True)
    heads = ("accuracy", "closed", "recall", "closed", "corrected", "distance", "nearer")
    for head in (*heads, "changed", "time"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_row("do nothing", *cells(yardstick.before, "0.00", "0.00"), "0.00", "0.0%", "0.0%")
    for name, line in lines.items():
        found = yardstick.figures(line.seen)
        shares = [str(share) for share in yardstick.closed(line.seen)]
        table.add_row(
            name,
            *cells(found, *shares),
            f"{yardstick.near(line.seen):.2f}",
            f"{line.changed:.1%}",
            f"{line.time:.1%}",
            yardstick.verdict(line.seen, line.changed, line.time),
        )
    table.add_row("retrain", *cells(yardstick.retrained, "1.00", "1.00"), "1.00", "100%", "100%")
    table.add_row("  two of them differ by", *cells(yardstick.noise, "", ""))
    return table


def cells(found: Figures, accuracy: str, recall: str) -> list[str]:
    """Lay out figures."""
    return [
        f"{found.accuracy:.3f}",
        accuracy,
        f"{found.recall:.3f}",
        recall,
        f"{found.corrected:.3f}",
        f"{found.distance:.3f}",
    ]


def notes_on(lines: dict[str, Line], yardstick: Yardstick) -> list[str]:
    """What was chosen, and where a mask by curvature does no better than one without."""
    ours = lines[OURS]
    notes = [f"auto chose {', '.join(sorted(ours.chosen))}"]
    for name, line in lines.items():
        if not name.startswith(" "):
            continue
        ahead = yardstick.ahead(ours.seen, line.seen)
        words = " and ".join(
            f"{_compared(found)} in {of} by {found}"
            for of, found in zip(("accuracy", "recall"), ahead, strict=True)
        )
        notes.append(f"ours against {name.strip()!r}: {words} of the gap")
    return notes


def _compared(difference: Interval) -> str:
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "no better and no worse"
