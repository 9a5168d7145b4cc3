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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from app.unlearning.problem import Problem
from app.unlearning.update import changed_scalars
from benchmarks.quality.correction_cases import (
    CASES,
    SCHEDULES,
    SETS,
    Case,
    Training,
    problem_of,
    wronged,
)
from benchmarks.quality.correction_measures import (
    LEAST_CLOSED,
    MOST_PARAMETERS,
    MOST_TIME,
    Yardstick,
    see,
)
from benchmarks.quality.correction_methods import (
    FRONTIER,
    METHODS,
    OURS,
    SHARES,
)
from benchmarks.quality.correction_networks import Networks
from benchmarks.quality.correction_tables import Line, notes_on, table_of
from benchmarks.quality.equal_cost import Correct, Spent
from benchmarks.quality.gap_plots import Bars, Point, draw_cost, draw_share

Say = Callable[[str], None]

BARS = Bars((LEAST_CLOSED,), MOST_PARAMETERS, MOST_TIME)


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
    accuracy, recall = yardstick.closed(line.seen)
    return Point(name, line.changed, line.time, {"accuracy": accuracy, "recall": recall})


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
            points = {k: r.points for k, r in results.items()}
            draw_cost(points, BARS, name, plots / f"{name}_cost.png")
            frontiers = {k: r.frontier for k, r in results.items()}
            draw_share(frontiers, BARS, name, plots / f"{name}_share.png")
    return results


if __name__ == "__main__":
    main()
