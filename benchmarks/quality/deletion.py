"""Delete rows from an over-fitted CNN: every method beside retraining, one table a deletion.

Networks are trained until they over-fit and must lose a random twentieth of their rows, the rows of
the largest subject, or half of a class. Retrained networks (one for each seed) are the yardstick:
their mean is where an update should land, their spread is what landing means. Methods never see
them. Times are seconds of the processor on one thread, as a share of retraining. Where retrained
networks differ by as much as the gap, or the gap is a single row, nothing is decided.

    python -m benchmarks.quality.deletion --data <folder> --set fashion_mnist --rows 4000

The other sets over-fit with ``--set fashion_mnist --rows 12000 --epochs 20``, ``--set adult
--epochs 60``, ``--set enron --rows 3000`` and ``--set digits --rows 900 --epochs 60``.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Final

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from app.unlearning.update import JSON, apply_update, changed_scalars
from benchmarks.quality.deletion_cases import (
    DELETIONS,
    deleted,
    forgotten,
    problem_of,
    recipe_of,
    trained_or_kept,
    without,
)
from benchmarks.quality.deletion_measures import (
    Gap,
    Measures,
    average,
    measure,
    probe_auc,
    spread,
)
from benchmarks.quality.deletion_sets import SETS, Study

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
Trained = tuple[nn.Module, float]
Train = Callable[[str, TensorRows, Recipe], Trained]


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


def run_methods(
    problem: Problem,
    forget: TensorRows,
    gap: Gap,
    study: Study,
    retraining: float,
    lines: dict[str, Line],
) -> None:
    """Run every method on one original network."""
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
        found = measure(result, study.objective, forget, study.reported)
        line.measures.append(found)
        line.closed.append(gap.closed(found))
        line.changed.append(changed)
        line.time.append(share)
        line.verdicts.append(gap.verdict(found, changed, share))
        missed = gap.missed(found, changed, share)
        line.missed.update(missed)
        line.behaved.append(not set(missed) - {"share", "time"})
        judged = update.diagnostics.get("judgement")
        if isinstance(judged, float):
            line.judged.append(judged)


def study_deletion(
    study: Study,
    gone: Tensor,
    originals: list[nn.Module],
    epochs: int,
    lines: dict[str, Line],
    train: Train,
    say: Callable[[str], None],
) -> Table:
    """Retrain, run every method on every original, and lay the figures out."""
    forget = forgotten(study, gone)
    retained = without(study, gone)
    again = [
        train(str(seed), retained, recipe_of(epochs, 100 + seed)) for seed in range(len(originals))
    ]
    retraining = mean(seconds for _, seconds in again)
    see = partial(measure, objective=study.objective, forget=forget, reported=study.reported)
    retrained = [see(model) for model, _ in again]
    say(f"{len(again)} networks retrained, {retraining:.1f} s of the processor each")
    noise = spread(retrained)
    # Three networks may agree by chance; a single row is below what accuracy can tell.
    told = replace(noise, accuracy=max(noise.accuracy, (1 + 1e-6) / len(forget)))
    untouched = []
    for seed, original in enumerate(originals):
        untouched.append(see(original))
        gap = Gap(untouched[-1], average(retrained), told)
        problem = problem_of(study, gone, original, recipe_of(epochs, seed))
        run_methods(problem, forget, gap, study, retraining, lines)
        say(f"original {seed} done")
    find = partial(probe_auc, forget=forget, reported=study.reported)
    probes = [mean(map(find, models)) for models in (originals, [model for model, _ in again])]
    title = (
        f"{len(gone)} of {len(study.training)} rows deleted; retraining takes {retraining:.1f} s; "
        f"a probe on the first layers' features: AUC {probes[0]:.3f} untouched and after every "
        f"update, {probes[1]:.3f} retrained"
    )
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
    table.add_row("retrained", *cells(average(retrained), ""), "100.0%", "100.0%")
    table.add_row("  their spread", *cells(noise, ""))
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
    passed = sum(verdict == "pass" for verdict in line.verdicts)
    unclear = line.verdicts.count("inconclusive")
    note = f"{passed} of {len(line.verdicts)}" + (f", {unclear} unclear" if unclear else "")
    behaved = sum(
        well and verdict != "inconclusive"
        for well, verdict in zip(line.behaved, line.verdicts, strict=True)
    )
    note += f", {behaved} but for cost" if behaved > passed else ""
    return [
        *cells(average(line.measures), closed),
        f"{mean(line.changed):.1%}",
        f"{mean(line.time):.1%}",
        " ".join(f"{judged:.1f}" for judged in line.judged),
        note,
        ", ".join(f"{name} {count}" for name, count in sorted(line.missed.items())),
    ]


def alarms(lines: dict[str, Line]) -> str:
    """How the method's own judgement compares with what its runs do, costs left out."""
    pairs = [
        (judged > 1, not behaved)
        for line in lines.values()
        for judged, verdict, behaved in zip(line.judged, line.verdicts, line.behaved, strict=False)
        if verdict != "inconclusive"
    ]
    missed = sum(is_miss for _, is_miss in pairs)
    caught = sum(refused and is_miss for refused, is_miss in pairs)
    false = sum(refused and not is_miss for refused, is_miss in pairs)
    return f"J refuses {caught} of {missed} misses, and {false} of {len(pairs) - missed} passes"


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--set", choices=SETS, default=next(iter(SETS)), help="which one")
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--seeds", type=int, default=3, help="originals, and retrained networks")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--deletions", nargs="+", choices=DELETIONS, default=list(DELETIONS))
    parser.add_argument("--ours", action="store_true", help="leave the other methods out")
    parser.add_argument("--networks", type=Path, help="folder: keep trained networks, and reuse")
    given = parser.parse_args()
    torch.set_num_threads(1)
    # The first optimizer of a process imports for a second or two, which no method should pay.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    console = Console(width=200)
    study = SETS[given.set](given.data, given.rows)
    names = [name for name, (method, _) in METHODS.items() if method == OURS or not given.ours]

    def train(name: str, rows: TensorRows, recipe: Recipe) -> Trained:
        full = f"{given.set}-{len(study.training)}-{given.epochs}-{name}"
        return trained_or_kept(given.networks, full, study, rows, recipe)

    originals = [
        train(f"original-{seed}", study.training, recipe_of(given.epochs, seed))[0]
        for seed in range(given.seeds)
    ]
    console.print(f"{given.seeds} networks trained on {len(study.training)} rows")
    for deletion in given.deletions:

        def say(text: str, which: str = deletion) -> None:
            console.print(f"{which}: {text}", highlight=False)

        def again(name: str, rows: TensorRows, recipe: Recipe, which: str = deletion) -> Trained:
            return train(f"{which}-{name}", rows, recipe)

        gone, lines = deleted(study, deletion), {name: Line() for name in names}
        console.print(study_deletion(study, gone, originals, given.epochs, lines, again, say))
        say(alarms(lines))


if __name__ == "__main__":
    main()
