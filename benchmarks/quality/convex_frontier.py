"""Convex models: how near an update comes to the retrained optimum, and at what cost.

Logistic regressions with weight decay 1e-3 on Adult (numbers standardised, categories one-hot) and
on the mails of Enron (counts of the most frequent words), in float64 on one thread. The yardstick
is a cold retrain: L-BFGS from zero on the edited rows until the 2-norm of the gradient is 1e-8, on
the very function the methods of the library use; all costs are processor time as a share of its
time in the same run, medians of several runs in turns. Two tables:

* every edit, with the distance of the parameters to that optimum before and after;
* the frontier: the share of the gap that is closed where only a share of the coordinates may
  change, for every rule of the library that chooses them. All rules have the same minimiser and
  differ in the coordinates alone. The gap is printed as suboptimality of the edited loss, which is
  what a sparse update minimises and may never raise, and as distance of the parameters, which with
  correlated features can grow though every step was a good one. The claim is about the former.

    python -m benchmarks.quality.convex_frontier --data <folder>
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods import make_method
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.methods.select_by_decrement import select_by_decrement
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Selection,
    budget_count,
    decrement_scores,
    magnitude_scores,
    random_scores,
    select_extreme,
)
from app.unlearning.solvers import masked_lbfgs
from app.unlearning.update import JSON, apply_update
from benchmarks.quality.convex_cases import Data, Edit, edits, load, problem_of

SETS: Final = ("adult", "enron-500", "enron-1000")
SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.3, 1.0)
RETRAINED_NORM = 1e-8
LEAST_CUT, MOST_COST, LEAST_ADVANTAGE = 100.0, 0.10, 1.5
OURS, RIVAL = "greedy", "largest diagonal"
# Where the rival closes more than this there is no room for one and a half times as much.
MOST_ROOM = 1.0 / LEAST_ADVANTAGE
METHODS: Final[dict[str, tuple[str, dict[str, JSON]]]] = {
    "influence": ("influence", {"accuracy": 0.005}),
    "influence, to 1e-9": ("influence", {}),
    "influence, one exact step": ("influence", {"solver": "exact", "damping": 0.0}),
    "sparse_newton 100 %": ("sparse_newton", {"fraction": 1.0}),
}
CLAIMED = "influence"

Theta = dict[str, Tensor]


class _Reached(Exception):
    """The gradient is small enough."""


@dataclass
class Descent:
    """Where L-BFGS ended, and what it took."""

    theta: Theta
    evaluations: int
    seconds: float


def descend(
    problem: Problem, start: Theta, *, norm: float = 0.0, seconds: float = math.inf
) -> Descent:
    """Minimise the edited loss by L-BFGS until a gradient norm or a time is reached.

    Raises:
        ArithmeticError: The gradient norm is out of reach.
    """
    loss = LinearObjective(problem)
    last: dict[str, Theta] = {"theta": start}
    began, count = time.process_time(), 0

    def evaluate(theta: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
        nonlocal count
        count += 1
        value, gradient = loss.loss_and_gradient(theta)
        squares = sum(float(part.square().sum()) for part in gradient.values())
        last["theta"] = dict(theta)
        if math.sqrt(squares) <= norm or time.process_time() - began >= seconds:
            raise _Reached
        return value, gradient

    try:
        minimum = masked_lbfgs(
            evaluate, start, Selection.everything(start), max_steps=100_000, tolerance=0.0
        )
    except _Reached:
        return Descent(last["theta"], count, time.process_time() - began)
    if norm > 0:
        raise ArithmeticError(f"retraining ended at a gradient of {minimum.gradient_norm}")
    return Descent(minimum.values, count, time.process_time() - began)


@dataclass
class Line:
    """One way to new parameters, over the repeats."""

    theta: Theta
    seconds: list[float] = field(default_factory=list)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The Euclidean distance of two sets of parameters."""
    return math.sqrt(sum(float((one[name] - other[name]).square().sum()) for name in one))


def zeros(problem: Problem) -> Theta:
    """Parameters that are all zero."""
    return {name: torch.zeros_like(value) for name, value in problem.parameters.items()}


def ways_of(problem: Problem, cold: Problem) -> dict[str, Callable[[], Theta]]:
    """What is timed beside retraining; the last one starts from zero."""

    def by(method: str, given: dict[str, JSON], of: Problem) -> Callable[[], Theta]:
        def run() -> Theta:
            update = make_method(method, given).unlearn(of)
            return dict(apply_update(of.model, update).state_dict())

        return run

    ways = {name: by(method, given, problem) for name, (method, given) in METHODS.items()}
    if problem.parameter_count > 2048:
        del ways["influence, one exact step"]
    return {**ways, "the same from zero, to 1e-9": by("influence", {}, cold)}


@dataclass
class Outcome:
    """One edit.

    Attributes:
        name: Of the edit.
        before: Distance of the untouched parameters to the retrained ones.
        retraining: Evaluations of the yardstick.
        lines: Name to parameters and times; ``retrained`` is among them.
    """

    name: str
    before: float
    retraining: int
    lines: dict[str, Line]

    def cost(self, name: str) -> float:
        """Processor time as a share of retraining, medians."""
        return median(self.lines[name].seconds) / median(self.lines["retrained"].seconds)

    def cut(self, name: str) -> float:
        """How many times nearer the retrained parameters are than before."""
        after = distance(self.lines[name].theta, self.lines["retrained"].theta)
        return self.before / after if after > 0 else math.inf

    @property
    def is_met(self) -> bool:
        """Whether the method that the claim names is near enough and cheap enough."""
        return self.cut(CLAIMED) >= LEAST_CUT and self.cost(CLAIMED) <= MOST_COST


def measure(data: Data, edit: Edit, theta: Theta, repeats: int) -> Outcome:
    """Run all ways in turns; fine-tuning gets the time of the claimed method."""
    problem = problem_of(data, edit, theta)
    ways = ways_of(problem, problem_of(data, edit, None))
    lines: dict[str, Line] = {}
    evaluations = 0
    # The first round only warms up.
    for repeat in range(repeats + 1):
        retrained = descend(problem, zeros(problem), norm=RETRAINED_NORM)
        evaluations = retrained.evaluations
        results = {"retrained": (retrained.theta, retrained.seconds)}
        for name, way in ways.items():
            began = time.process_time()
            found = way()
            results[name] = found, time.process_time() - began
        tuned = descend(problem, theta, seconds=results[CLAIMED][1])
        results["fine-tuning, equal cost"] = tuned.theta, tuned.seconds
        for name, (found, seconds) in results.items() if repeat else ():
            line = lines.setdefault(name, Line(found))
            line.theta = found
            line.seconds.append(seconds)
    return Outcome(edit.name, distance(theta, lines["retrained"].theta), evaluations, lines)


@dataclass(frozen=True)
class Gap:
    """What one selection closes of the gap to retraining."""

    loss: float
    distance: float


def selections(problem: Problem, share: float) -> dict[str, Selection]:
    """Choose a share of the coordinates by every rule; the last layer is the whole model here."""
    count = budget_count(share, problem.parameter_count)
    loss = LinearObjective(problem)
    _, gradient = loss.loss_and_gradient(problem.parameters)
    diagonal = loss.diagonal()
    total = sum(float(part.sum()) for part in diagonal.values())
    damping = 1e-2 * total / problem.parameter_count
    names = tuple(problem.parameters)
    greedy = select_by_decrement(
        problem, names, count, "global", 1e-2, Selection({}), ranking="greedy"
    )
    return {
        RIVAL: select_extreme(diagonal, count),
        "smallest diagonal": select_extreme(diagonal, count, largest=False),
        "gradient": select_extreme(magnitude_scores(gradient), count),
        "decrement": select_extreme(decrement_scores(gradient, diagonal, damping), count),
        "random": select_extreme(random_scores(problem.parameters, 0), count),
        OURS: greedy.selection,
    }


def frontier(problem: Problem, retrained: Theta, share: float) -> dict[str, Gap]:
    """Minimise over the coordinates of every rule, and see what is closed.

    Raises:
        ArithmeticError: An update raised the edited loss.
    """
    loss = LinearObjective(problem)
    start = problem.parameters
    (before, _), (least, _) = loss.loss_and_gradient(start), loss.loss_and_gradient(retrained)
    away = distance(start, retrained)

    def closed(theta: Theta) -> Gap:
        value, _ = loss.loss_and_gradient(theta)
        if value > before:
            raise ArithmeticError("a sparse update raised the edited loss")
        return Gap((before - value) / (before - least), 1 - distance(theta, retrained) / away)

    found = {}
    for name, selection in selections(problem, share).items():
        minimum = convex_optimum(
            problem, tolerance=1e-9, accuracy=1e-5, max_steps=50, selection=selection
        )
        found[name] = closed({**start, **minimum.theta})
    if share < 1:
        again: dict[str, JSON] = {"fraction": share, "reselections": 9, "scope": "all"}
        update = make_method("sparse_newton", again).unlearn(problem)
        found["decrement, chosen in 10 rounds"] = closed(
            dict(apply_update(problem.model, update).state_dict())
        )
    return found


def outcome_table(name: str, data: Data, outcomes: list[Outcome]) -> Table:
    """Lay the distances and costs out."""
    rows, width = data.inputs.shape
    table = Table(title=f"{name}: {rows} rows, {width + 1} parameters", box=SIMPLE)
    table.add_column("edit", no_wrap=True)
    table.add_column("way", no_wrap=True)
    for head in ("distance", "times nearer", "ms", "of retraining"):
        table.add_column(head, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(outcome.name, "untouched", f"{outcome.before:.2e}", "", "", "")
        order = ["fine-tuning, equal cost", *(n for n in outcome.lines if n[0] != "f")]
        for way in order:
            is_yardstick = way == "retrained"
            label = f"retrained, {outcome.retraining} evaluations" if is_yardstick else way
            cut = outcome.cut(way)
            table.add_row(
                "",
                label,
                "" if is_yardstick else f"{outcome.before / cut:.2e}",
                "" if is_yardstick else f"{cut:.0f}" if cut >= 10 else f"{cut:.1f}",
                f"{1e3 * median(outcome.lines[way].seconds):.0f}",
                f"{outcome.cost(way):.1%}",
            )
    return table


def frontier_table(name: str, edit: str, found: Mapping[float, Mapping[str, Gap]]) -> Table:
    """Lay one frontier out: shares of the gap in loss / in distance."""
    title = f"{name}, {edit}: share of the gap closed, in edited loss / in distance"
    table = Table(title=title, box=SIMPLE)
    table.add_column("rule", no_wrap=True)
    for share in found:
        table.add_column(f"{share:.0%}", justify="right", no_wrap=True)
    for rule in found[min(found)]:
        cells = [
            f"{gaps[rule].loss:.3f} / {gaps[rule].distance:+.2f}" if rule in gaps else ""
            for gaps in found.values()
        ]
        table.add_row(rule, *cells)
    ratios = []
    for gaps in found.values():
        ours, rival = gaps[OURS], gaps[RIVAL]
        parts = [
            f"{mine / theirs:.1f}" if theirs > 1e-3 else "-"
            for mine, theirs in ((ours.loss, rival.loss), (ours.distance, rival.distance))
        ]
        ratios.append(" / ".join(parts))
    table.add_row(f"{OURS} over {RIVAL}", *ratios)
    return table


def advantage(found: Mapping[float, Mapping[str, Gap]]) -> tuple[list[str], list[str], list[str]]:
    """Sort the shares below one: advantage held, missed, and no room for it."""
    held: list[str] = []
    missed: list[str] = []
    no_room: list[str] = []
    for share, gaps in found.items():
        if share >= 1:
            continue
        ours, rival = gaps[OURS].loss, gaps[RIVAL].loss
        if ours >= LEAST_ADVANTAGE * rival:
            held.append(f"{share:.0%}")
        else:
            (no_room if rival > MOST_ROOM else missed).append(f"{share:.0%}")
    return held, missed, no_room


def study(name: str, data: Data, repeats: int, seed: int, console: Console) -> bool:
    """Run both parts on one data set and print them; return whether all that is asked is met."""
    plain = problem_of(data, None, None)
    theta = convex_optimum(plain, tolerance=1e-10, max_steps=100).theta
    requests = edits(data, seed)
    outcomes = [measure(data, edit, theta, repeats) for edit in requests]
    console.print(outcome_table(name, data, outcomes))
    met = True
    for edit, outcome in zip(requests, outcomes, strict=True):
        problem = problem_of(data, edit, theta)
        retrained = outcome.lines["retrained"].theta
        found = {share: frontier(problem, retrained, share) for share in SHARES}
        console.print(frontier_table(name, edit.name, found))
        held, missed, no_room = advantage(found)
        console.print(
            f"{edit.name}: {LEAST_ADVANTAGE} times the largest diagonal in loss at "
            f"{', '.join(held) or 'no share'}; missed at {', '.join(missed) or 'none'}; no room at "
            f"{', '.join(no_room) or 'none'}",
            highlight=False,
        )
        met &= not missed
    for outcome in outcomes:
        met &= outcome.is_met
        console.print(
            f"{name}, {outcome.name}: {outcome.cut(CLAIMED):.0f} times nearer at "
            f"{outcome.cost(CLAIMED):.1%}: {'met' if outcome.is_met else 'MISSED'}",
            highlight=False,
        )
    return met


def main() -> int:
    """Run the study; return 1 if anything asked is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="adult, enron-<words>")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the edits")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=160)
    verdicts = [
        study(name, load(given.data, name), given.repeats, given.seed, console)
        for name in given.sets
    ]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
