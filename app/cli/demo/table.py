"""The table of the demonstration: means over the seeds, and what happened in the last request."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from app.cli.demo.figures import Figures
from app.cli.demo.story import Outcome, Told

COLUMNS = (
    "",
    "accuracy",
    "loss",
    "AUC",
    "seconds",
    "time share",
    "changed",
    "method",
    "verdict",
    "assurance",
)
TEXT_COLUMNS = ("", "method", "verdict", "assurance")
NOTES = """\
accuracy, loss: held-out rows with their right labels; measured outside the service.
AUC: membership of the rows a request is about, 0.5 = no trace. Correction: their wrong labels \
against the same wrong labels on held-out rows. Deletion: against held-out rows of the same mix.
seconds: of the service from claim to publication, failed attempts included; of training from \
scratch until held-out accuracy has levelled off. time share: the former by the latter.
changed: share of the parameters whose value changed."""


def show(console: Console, stories: Sequence[Told]) -> None:
    """Print the table and what its columns mean."""
    seeds = len(stories)
    table = Table(title=f"means over {seeds} {'seed' if seeds == 1 else 'seeds'}", box=SIMPLE)
    for name in COLUMNS:
        justify: Literal["left", "right"] = "left" if name in TEXT_COLUMNS else "right"
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name == "")
    _add(table, "correction", [told.correction for told in stories])
    table.add_section()
    _add(table, "deletion", [told.deletion for told in stories])
    console.print(table)
    console.print(NOTES, style="dim", highlight=False)
    for told in stories:
        for title, outcome in (("correction", told.correction), ("deletion", told.deletion)):
            for setback in outcome.setbacks:
                line = f"seed {told.seed}, {title}: {setback}; escalated"
                console.print(line, markup=False, highlight=False)


def show_entries(console: Console, told: Told) -> None:
    """Print the audit entries of a story's deletion."""
    table = Table(title="audit entries of the last request", box=SIMPLE)
    for name in ("time", "type", "entity", "from", "to"):
        table.add_column(name, no_wrap=True)
    for entry in told.entries:
        entity = f"{entry['entity']['kind']} {entry['entity']['id']}"
        time = entry["time"].removesuffix("Z").partition("T")[2][:12]
        table.add_row(time, entry["type"], entity, entry["from"] or "", entry["to"] or "")
    console.print(table)


def _add(table: Table, title: str, outcomes: Sequence[Outcome]) -> None:
    """Add the networks before and after a request and the one trained from scratch."""
    table.add_row(f"before {title}", *_figures([o.before for o in outcomes]))
    table.add_row(
        f"after {title}",
        *_figures([o.after for o in outcomes]),
        f"{fmean(o.seconds for o in outcomes):.2f}",
        f"{time_share(outcomes):.1%}",
        f"{fmean(o.changed_share for o in outcomes):.2%}",
        _tally(outcomes, "method"),
        _tally(outcomes, "verdict"),
        _tally(outcomes, "assurance"),
    )
    table.add_row(
        "retrained from scratch",
        *_figures([o.retrained for o in outcomes]),
        f"{fmean(o.retraining_seconds for o in outcomes):.2f}",
    )


def time_share(outcomes: Sequence[Outcome]) -> float:
    """Return the mean over seeds of the service's seconds as a share of retraining's."""
    return fmean(o.seconds / o.retraining_seconds for o in outcomes)


def _figures(all_figures: Sequence[Figures]) -> list[str]:
    columns: list[Callable[[Figures], float]] = [
        lambda f: f.accuracy,
        lambda f: f.loss,
        lambda f: f.auc,
    ]
    return [f"{fmean(map(column, all_figures)):.3f}" for column in columns]


def _tally(outcomes: Sequence[Outcome], name: str) -> str:
    """Return what the reports say, with how often where they differ."""
    counts = Counter(str(outcome.report[name]) for outcome in outcomes)
    if len(counts) == 1:
        return next(iter(counts))
    return "\n".join(f"{value} ({count})" for value, count in counts.most_common())
