"""Runs of the deletion study: methods on original networks, and retraining by its own bar."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import nn

from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows
from app.unlearning.training import initialise
from app.unlearning.update import JSON, apply_update, changed_scalars
from benchmarks.quality.deletion_cases import problem_of, recipe_of
from benchmarks.quality.deletion_measures import Gap, Measures, average, measure, spread
from benchmarks.quality.deletion_sets import Study

OURS: Final = "reference_distillation"
FREELY: Final[dict[str, JSON]] = {"refuse_above": None}
# The first sets the cost at which fine-tuning is compared.
METHODS: Final[dict[str, tuple[str, dict[str, JSON]]]] = {
    "reference_distillation": (OURS, FREELY),
    "  on 5 %": (OURS, {**FREELY, "fraction": 0.05}),
    "  random mask": (OURS, {**FREELY, "mask": "random"}),
    "  curvature gain as mask": (OURS, {**FREELY, "mask": "decrement"}),
    "fine-tune, equal cost": ("fine_tune", {}),
    "last layer": ("last_layer", {}),
    "saps 10 %": ("saps", {"fraction": 0.1}),
    "sparse_newton 10 %": ("sparse_newton", {"fraction": 0.1}),
}
_WARM_ROWS = 256


@dataclass
class Line:
    """One method over the seeds."""

    measures: list[Measures] = field(default_factory=list)
    closed: list[tuple[float, float]] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    behaved: list[bool] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        gap: Gap,
        found: Measures,
        changed: float,
        share: float,
        *,
        is_conclusive: bool = True,
    ) -> None:
        """Take in one run."""
        self.measures.append(found)
        self.closed.append(gap.closed(found))
        self.changed.append(changed)
        self.time.append(share)
        verdict = gap.verdict(found, changed, share)
        self.verdicts.append(verdict if is_conclusive else "inconclusive")
        missed = gap.missed(found, changed, share)
        self.missed.update(missed)
        self.behaved.append(not set(missed) - {"share", "time"})

    @property
    def conclusive(self) -> list[bool]:
        """Whether each run that decides anything behaves, costs left out."""
        pairs = zip(self.behaved, self.verdicts, strict=True)
        return [behaved for behaved, verdict in pairs if verdict != "inconclusive"]


def told_apart(retrained: Sequence[Measures], forgotten: int) -> Measures:
    """Differences that tell nothing: of retrained networks, and at least of one row.

    Three networks may agree by chance; a single row is below what accuracy can tell.
    """
    noise = spread(retrained)
    return replace(noise, accuracy=max(noise.accuracy, (1 + 1e-6) / forgotten))


def retrained_by_the_others(
    untouched: Sequence[Measures], retrained: Sequence[Measures], forgotten: int
) -> Line:
    """Judge every retrained network as if it were an update, by the mean of the others.

    What retraining itself misses, nothing that imitates it can be blamed for. With three networks
    the mean of two others is a little less certain than the mean that updates are judged by.
    Whether anything is decided is what it is for updates.

    Args:
        untouched: Of the original networks.
        retrained: Of the retrained ones, at least two.
        forgotten: Deleted rows.

    Returns:
        One run for each retrained network.
    """
    line = Line()
    told = told_apart(retrained, forgotten)
    for seed, (before, found) in enumerate(zip(untouched, retrained, strict=True)):
        others = [one for number, one in enumerate(retrained) if number != seed]
        whole = Gap(before, average(retrained), told)
        silent = replace(told, accuracy=0.0, loss=0.0)
        gap = Gap(before, average(others), silent)
        line.add(gap, found, 1.0, 1.0, is_conclusive=whole.is_conclusive)
    return line


def run_methods(
    problem: Problem,
    forget: TensorRows,
    gap: Gap,
    study: Study,
    retraining: float,
    lines: dict[str, Line],
) -> None:
    """Run every method on one original network.

    Args:
        problem: The deletion.
        forget: The deleted rows.
        gap: To the retrained networks.
        study: The study.
        retraining: Seconds of the processor that retraining takes.
        lines: By name, see ``METHODS``; added to.
    """
    equal: dict[str, JSON] = {}
    for name, line in lines.items():
        method, given = METHODS[name]
        parameters = {**given, **equal} if method == "fine_tune" else given
        started = time.process_time()
        update = make_method(method, parameters).unlearn(problem)
        share = (time.process_time() - started) / retraining
        if not equal and problem.recipe is not None:
            spent = share * problem.recipe.epochs * problem.retained_total
            equal = {"gradient_budget": max(64, int(spent))}
        result = apply_update(problem.model, update)
        changed = changed_scalars(problem.model, result) / problem.parameter_count
        line.add(gap, measure(result, study.objective, forget, study.reported), changed, share)
        judged = update.diagnostics.get("judgement")
        if isinstance(judged, float):
            line.judged.append(judged)


def warm_up(study: Study, names: Sequence[str]) -> None:
    """Run every method once on a few rows of an untrained network, untimed.

    The first calls of a process import and compile for a second or two, which no method should
    pay. Training is warm too: epochs are timed after networks were trained or read and run.
    """
    model: nn.Module = initialise(study.build, 0).eval()
    batch = study.training.take(torch.arange(min(_WARM_ROWS, len(study.training))))
    few = replace(study, training=TensorRows(batch.inputs, batch.targets))
    # Every second row, so that both parts hold rows of every frequent class.
    gone = torch.arange(0, len(few.training), 2)
    problem = problem_of(few, gone, model, recipe_of(1, 0))
    for method, parameters in (METHODS[name] for name in names):
        make_method(method, parameters).unlearn(problem)
