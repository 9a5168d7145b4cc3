"""What the study of convex models measures: costs and distances, and what selections close."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import torch
from torch import Tensor

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods import make_method
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.methods.ranking import select_ranked
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
from benchmarks.quality.convex_cases import Data, Edit, problem_of

RETRAINED_NORM = 1e-8
LEAST_CUT, MOST_COST = 100.0, 0.10
OURS, RIVAL = "greedy, in 5 rounds", "largest diagonal"
# The latter is what the method does unless it is told otherwise.
ROUNDS: Final[dict[str, dict[str, JSON]]] = {
    "decrement, in 5 rounds": {"select": "decrement"},
    OURS: {},
}
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
    greedy = select_ranked(problem, names, count, "global", 1e-2, Selection({}), rule="greedy")
    return {
        RIVAL: select_extreme(diagonal, count),
        "smallest diagonal": select_extreme(diagonal, count, largest=False),
        "gradient": select_extreme(magnitude_scores(gradient), count),
        "decrement": select_extreme(decrement_scores(gradient, diagonal, damping), count),
        "random": select_extreme(random_scores(problem.parameters, 0), count),
        "greedy": greedy.selection,
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
            problem, tolerance=1e-9, accuracy=1e-5, max_steps=500, selection=selection
        )
        found[name] = closed({**start, **minimum.theta})
    for name, given in ROUNDS.items():
        update = make_method("sparse_newton", {"fraction": share, **given}).unlearn(problem)
        found[name] = closed(dict(apply_update(problem.model, update).state_dict()))
    return found
