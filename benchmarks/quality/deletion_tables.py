"""Tables of the deletion study, and how the method's own judgement fares."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.quality.deletion_measures import Measures, average, spread
from benchmarks.quality.deletion_runs import Line


def table_of(
    title: str,
    untouched: Sequence[Measures],
    lines: Mapping[str, Line],
    control: Line,
) -> Table:
    """Lay the figures of one deletion out.

    Args:
        title: Above the table.
        untouched: Of the original networks.
        lines: Methods by name.
        control: Retrained networks, judged as if they were updates.

    Returns:
        The table.
    """
    table = Table(title=title, box=SIMPLE)
    table.add_column("", no_wrap=True)
    for head in ("forget acc.", "loss", "closed acc./loss", "AUC", "held-out"):
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("changed", "time", "J", "pass"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("missed in runs")
    table.add_row("untouched", *cells(average(untouched), ""))
    for name, line in lines.items():
        table.add_row(name, *line_cells(line))
    table.add_row("retrained, by the others", *line_cells(control))
    table.add_row("  their spread", *cells(spread(control.measures), ""))
    return table


def cells(found: Measures, closed: str) -> list[str]:
    """Lay out measures."""
    return [
        f"{found.accuracy:.3f}",
        f"{found.loss:.3f}",
        closed,
        f"{found.auc:.3f}",
        f"{found.held_out:.3f}",
    ]


def line_cells(line: Line) -> list[str]:
    """Lay out one method: means over the seeds, and which passed."""
    closed = "/".join(f"{mean(column):.2f}" for column in zip(*line.closed, strict=True))
    passed = line.verdicts.count("pass")
    unclear = line.verdicts.count("inconclusive")
    note = f"{passed} of {len(line.verdicts)}" + (f", {unclear} unclear" if unclear else "")
    behaved = sum(line.conclusive)
    note += f", {behaved} but for cost" if behaved > passed else ""
    return [
        *cells(average(line.measures), closed),
        f"{mean(line.changed):.1%}",
        f"{mean(line.time):.1%}",
        " ".join(f"{judged:.1f}" for judged in line.judged),
        note,
        ", ".join(f"{name} {count}" for name, count in sorted(line.missed.items())),
    ]


def ceiling(control: Line) -> str:
    """Say how often retraining itself meets what updates are asked to meet, costs left out."""
    decided = control.conclusive
    if not decided:
        return "retrained networks differ by as much as the gap: nothing is decided"
    missed = len(decided) - sum(decided)
    return f"retraining itself misses what is asked in {missed} of {len(decided)} runs"


def alarms(lines: Iterable[Line]) -> str:
    """How the method's own judgement compares with what its runs do, costs left out."""
    pairs = [
        (judged > 1, not behaved)
        for line in lines
        for judged, verdict, behaved in zip(line.judged, line.verdicts, line.behaved, strict=False)
        if verdict != "inconclusive"
    ]
    missed = sum(is_miss for _, is_miss in pairs)
    caught = sum(refused and is_miss for refused, is_miss in pairs)
    false = sum(refused and not is_miss for refused, is_miss in pairs)
    return f"J refuses {caught} of {missed} misses, and {false} of {len(pairs) - missed} passes"


def summary(lines: Sequence[Line]) -> str:
    """Runs of one method over all deletions."""
    decided = [behaved for line in lines for behaved in line.conclusive]
    passed = sum(line.verdicts.count("pass") for line in lines)
    return (
        f"{passed} of {len(decided)} runs that decide anything pass, {sum(decided)} but for cost; "
        f"{alarms(lines)}"
    )
