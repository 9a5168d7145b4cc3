"""Delete rows from an over-fitted CNN: every method beside retraining, one table a deletion.

Networks are trained until they over-fit and must lose a random twentieth of their rows, the rows of
the largest subject, or half of a class. Retrained networks (one for each seed) are the yardstick:
their mean is where an update should land, their spread is what landing means. Methods never see
them. Where retrained networks differ by as much as the gap, or the gap is a single row, nothing is
decided; a retrained network that is judged as if it were an update, by the mean of the others,
says what can be asked at all. Times are seconds of the processor on one thread, as a share of
retraining, of which an epoch is timed beside the updates of each network.

    python -m benchmarks.quality.deletion --data <folder> --set fashion_mnist --rows 4000

``--deletions middle_class easy_class`` halves classes that the networks know better. Other sets
over-fit with ``--set fashion_mnist --rows 12000 --epochs 20``, ``--set adult
--epochs 60``, ``--set enron --rows 3000`` and ``--set digits --rows 900 --epochs 60``.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows
from benchmarks.quality.deletion_cases import (
    DELETIONS,
    OTHER_CLASSES,
    by_difficulty,
    deleted,
    epoch_seconds,
    forgotten,
    problem_of,
    recipe_of,
    trained_or_kept,
    without,
)
from benchmarks.quality.deletion_measures import Gap, average, measure, probe_auc
from benchmarks.quality.deletion_runs import (
    METHODS,
    OURS,
    Line,
    retrained_by_the_others,
    run_methods,
    told_apart,
    warm_up,
)
from benchmarks.quality.deletion_sets import SETS, Study
from benchmarks.quality.deletion_tables import alarms, ceiling, summary, table_of

Train = Callable[[str, TensorRows, Recipe], nn.Module]


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
    say(f"{len(again)} networks retrained")
    see = partial(measure, objective=study.objective, forget=forget, reported=study.reported)
    retrained = [see(model) for model in again]
    told = told_apart(retrained, len(forget))
    untouched, times = [], []
    for seed, original in enumerate(originals):
        recipe = recipe_of(epochs, seed)
        times.append(epochs * epoch_seconds(study, retained, recipe))
        untouched.append(see(original))
        gap = Gap(untouched[-1], average(retrained), told)
        problem = problem_of(study, gone, original, recipe)
        run_methods(problem, forget, gap, study, times[-1], lines)
        say(f"original {seed} done")
    find = partial(probe_auc, forget=forget, reported=study.reported)
    probes = [mean(map(find, models)) for models in (originals, again)]
    title = (
        f"{len(gone)} of {len(study.training)} rows deleted; retraining takes {mean(times):.1f} s; "
        f"a probe on the first layers' features: AUC {probes[0]:.3f} untouched and after every "
        f"update, {probes[1]:.3f} retrained"
    )
    control = retrained_by_the_others(untouched, retrained, len(forget))
    say(ceiling(control))
    return table_of(title, untouched, lines, control)


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--set", choices=SETS, default=next(iter(SETS)), help="which one")
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--seeds", type=int, default=3, help="originals, and retrained networks")
    parser.add_argument("--epochs", type=int, default=30)
    choices = (*DELETIONS, *OTHER_CLASSES)
    parser.add_argument("--deletions", nargs="+", choices=choices, default=list(DELETIONS))
    parser.add_argument("--ours", action="store_true", help="leave the other methods out")
    parser.add_argument("--networks", type=Path, help="folder: keep trained networks, and reuse")
    given = parser.parse_args()
    if given.seeds < 2:
        parser.error("retrained networks are compared with each other: two seeds at least")
    torch.set_num_threads(1)
    console = Console(width=200)
    study = SETS[given.set](given.data, given.rows)
    names = [name for name, (method, _) in METHODS.items() if method == OURS or not given.ours]
    warm_up(study, names)

    def train(name: str, rows: TensorRows, recipe: Recipe) -> nn.Module:
        full = f"{given.set}-{len(study.training)}-{given.epochs}-{name}"
        return trained_or_kept(given.networks, full, study, rows, recipe)

    originals = [
        train(f"original-{seed}", study.training, recipe_of(given.epochs, seed))
        for seed in range(given.seeds)
    ]
    console.print(f"{given.seeds} networks trained on {len(study.training)} rows")
    ranked, ours = by_difficulty(study, originals[0]), []
    for deletion in given.deletions:

        def say(text: str, which: str = deletion) -> None:
            console.print(f"{which}: {text}", highlight=False)

        def again(name: str, rows: TensorRows, recipe: Recipe, which: str = deletion) -> nn.Module:
            return train(f"{which}-{name}", rows, recipe)

        gone, lines = deleted(study, deletion, ranked), {name: Line() for name in names}
        console.print(study_deletion(study, gone, originals, given.epochs, lines, again, say))
        say(alarms(lines.values()))
        ours.append(lines[OURS])
    console.print(f"all deletions: {summary(ours)}", highlight=False)


if __name__ == "__main__":
    main()
