"""Correct wrong labels: every method and control beside retraining, one table for each case.

Networks are trained on data of which half of a class is mistaken for another one, or a tenth or a
fifth of all labels are wrong, and must become what training on the right labels would have made of
them. Retrained networks (one for each seed) are the yardstick; methods never see them. Beside every
figure stands by how much two retrained networks differ; where that is as large as what was lost,
the verdict is "inconclusive". Times are seconds of the processor on one thread, as a share of
retraining in the same run; the diagonal that the service computes when it registers a version, and
has at hand when a request comes, is not counted.

    python -m benchmarks.quality.correction --data <folder> --sets fashion,digits --plots <folder>
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import nn

from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from app.unlearning.update import changed_scalars
from benchmarks.quality.correction_cases import (
    CASES,
    SCHEDULES,
    SETS,
    Case,
    DataSet,
    Training,
    problem_of,
    trained,
    wronged,
)
from benchmarks.quality.correction_measures import Figures, Interval, Seen, Yardstick, see
from benchmarks.quality.correction_methods import (
    FRONTIER,
    METHODS,
    OURS,
    SHARES,
    Correct,
    Spent,
)
from benchmarks.quality.correction_plots import Point, draw_cost, draw_share
from benchmarks.quality.kept_networks import trained_or_kept

Say = Callable[[str], None]

TIMED_EPOCHS = 3


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


@dataclass(frozen=True)
class Result:
    """One case.

    Attributes:
        table: To print.
        notes: What the table does not say by itself.
        points: Of every method, for the picture of costs.
        frontier: By method and share, for the picture of shares; empty if not asked for.
        verdict: Of ours.
    """

    table: Table
    notes: list[str]
    points: list[Point]
    frontier: dict[str, list[Point]]
    verdict: str


@dataclass(frozen=True)
class Networks:
    """Networks of one data set, trained or taken from a folder.

    Attributes:
        data: The data set.
        training: How they are trained.
        folder: Where they are kept; None: nowhere.
        name: Of the data set.
    """

    data: DataSet
    training: Training
    folder: Path | None
    name: str

    def one(self, case: str, rows: TensorRows, recipe: Recipe) -> nn.Module:
        """The network of a recipe, trained on ``rows``: those of the case."""
        parts = (self.name, case, len(rows), self.training.schedule, recipe.epochs, recipe.seed)
        train = partial(trained, self.data, rows, recipe)
        name = "-".join(map(str, parts))
        return trained_or_kept(self.folder, name, self.data.build, train)

    def retrained(self, seeds: int) -> list[nn.Module]:
        """Those trained on right labels, once for all cases."""
        recipes = [self.training.recipe(100 + seed) for seed in range(seeds)]
        return [self.one("right", self.data.training, recipe) for recipe in recipes]

    def seconds(self) -> float:
        """Of the processor that a retraining takes, by the median of a few epochs now.

        What is compared with it must run on the same machine under the same load, so that the
        seconds that a kept network once took do not serve.
        """
        recipe = self.training.recipe(100)
        found = []
        for _ in range(TIMED_EPOCHS):
            started = time.process_time()
            trained(self.data, self.data.training, replace(recipe, epochs=1))
            found.append(time.process_time() - started)
        return recipe.epochs * median(found)


def apply(
    correct: Correct,
    problems: Sequence[Problem],
    case: Case,
    spent: Sequence[Spent],
    seconds: float,
) -> tuple[Line, list[Spent]]:
    """Let a method correct every original; also what it spent on each."""
    seen, changed, times, chosen, costs = [], [], [], set(), []
    for problem, allowed in zip(problems, spent, strict=True):
        started = time.process_time()
        answer = correct(problem, allowed)
        taken = time.process_time() - started
        seen.append(see(answer.model, case))
        changed.append(changed_scalars(problem.model, answer.model) / problem.parameter_count)
        times.append(taken / seconds)
        chosen.add(answer.chosen)
        costs.append(Spent(taken, answer.steps))
    return Line(seen, mean(changed), mean(times), frozenset(chosen - {""})), costs


def study(
    case: Case,
    networks: Networks,
    retrained: Sequence[nn.Module],
    which: str,
    *,
    frontier: bool,
    say: Say,
) -> Result:
    """Train on wrong labels, correct by every method, and lay the figures out."""
    recipes = [networks.training.recipe(seed) for seed in range(len(retrained))]
    originals = [networks.one(which, case.as_trained, recipe) for recipe in recipes]
    problems = [problem_of(case, *pair) for pair in zip(originals, recipes, strict=True)]
    say(f"{len(originals)} networks trained on wrong labels")
    look = partial(see, case=case)
    yardstick = Yardstick(
        case, [look(model) for model in retrained], [look(model) for model in originals]
    )
    seconds = networks.seconds()
    run = partial(apply, problems=problems, case=case, seconds=seconds)
    spent = [Spent(0.0, 0)] * len(problems)
    # What a process does once (imports, buffers) no method should pay.
    METHODS[OURS](problems[0], spent[0])
    title = (
        f"{networks.name}, {which}: {len(case.wrong)} of {len(case.labels)} training labels "
        f"corrected; retraining takes {seconds:.1f} s; {len(case.data.reported)} rows reported on"
    )
    lines: dict[str, Line] = {}
    for name, correct in METHODS.items():
        lines[name], costs = run(correct, spent=spent)
        if name == OURS:
            spent = costs
        say(f"{name.strip()}: done")
    along = {
        name: [point_of(name, run(make(share), spent=spent)[0], yardstick) for share in SHARES]
        for name, make in (FRONTIER if frontier else {}).items()
    }
    ours = lines[OURS]
    return Result(
        table_of(title, lines, yardstick),
        notes_on(lines, yardstick),
        [point_of(name, line, yardstick) for name, line in lines.items()],
        along,
        yardstick.verdict(ours.seen, ours.changed, ours.time),
    )


def point_of(name: str, line: Line, yardstick: Yardstick) -> Point:
    """A method as a picture shows it."""
    return Point(name, line.changed, line.time, *yardstick.closed(line.seen))


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


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", default="fashion", help=f"of {', '.join(SETS)}, with commas")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", type=int, default=12_000, help="training rows, if there are")
    parser.add_argument("--reported", type=int, help="most rows to report on; all that are left")
    parser.add_argument("--seeds", type=int, default=3, help="originals, and retrained networks")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--schedule", choices=SCHEDULES, default="constant")
    parser.add_argument("--networks", type=Path, help="folder: keep trained networks, and reuse")
    parser.add_argument("--plots", type=Path, help="folder for pictures; none are drawn without")
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error("fewer than two retrained networks have no noise")
    names = given.sets.split(",")
    if unknown := set(names) - set(SETS):
        parser.error(f"no such set: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    console = Console(width=190)
    training = Training(given.epochs, given.schedule)
    for name in names:
        data = SETS[name](given.data, given.rows).reporting_on(given.reported)
        networks = Networks(data, training, given.networks, name)
        run_set(networks, given.cases, given.seeds, given.plots, console)


def run_set(
    networks: Networks,
    cases: Sequence[str],
    seeds: int,
    plots: Path | None,
    console: Console,
) -> dict[str, Result]:
    """Study the cases of one data set; print and draw them."""
    name, retrained = networks.name, networks.retrained(seeds)
    results = {}
    for which in cases:
        case = wronged(networks.data, which)
        say: Say = lambda text, which=which: console.print(f"{name}, {which}: {text}")  # type: ignore[misc]  # mypy cannot type a lambda's default
        result = study(case, networks, retrained, which, frontier=plots is not None, say=say)
        console.print(result.table)
        for note in result.notes:
            console.print(f"{which}: {note}", highlight=False)
        results[which] = result
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            draw_cost({k: r.points for k, r in results.items()}, name, plots / f"{name}_cost.png")
            draw_share(
                {k: r.frontier for k, r in results.items()}, name, plots / f"{name}_share.png"
            )
    return results


if __name__ == "__main__":
    main()
