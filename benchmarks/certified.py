"""Certified removal from a logistic regression: do the bounds hold, and what does the noise cost?

Adult, encoded as in `adult_removal` and every row scaled to norm one (the bias's one comes after),
so that no row pulls more than another. Two tables:

* for several sizes of noise, what the promise leaves of the model (accuracy and macro-F1 on
  held-out rows: a model that always answers with the larger class has a good accuracy and a
  macro-F1 of 0.43), and how many rows can be removed before it has to be trained again;
* removals of one random row after the other, each held against its bounds. The noise that was
  drawn is known here, so that what is left of the gradient can be measured against what the
  service, which does not know it, says is spent.

    python -m benchmarks.certified --data <folder with adult.parquet>
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from app.unlearning.certified import (
    SummedObjective,
    gaussian_noise,
    largest_shift,
    perturbed_optimum,
)
from app.unlearning.errors import BudgetSpent
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Perturbation, Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.update import Update, apply_update
from benchmarks.adult_removal import encode, inputs_of

NOISES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
PROBES = 20
"""Removals from which the number until the budget is spent is reckoned."""
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Setting:
    """What is promised, and about which model.

    Attributes:
        epsilon: Of the promise.
        delta: Of the promise.
        decay: Weight decay of the mean objective.
        dtype: In which parameters are stored.
    """

    epsilon: float
    delta: float
    decay: float
    dtype: torch.dtype

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return Objective("binary_cross_entropy", self.decay)


@dataclass(frozen=True)
class Split:
    """Rows of one split; features of norm one, without the bias's one."""

    X: Tensor
    y: Tensor

    def rows(self, kept: Tensor) -> TensorRows:
        """The rows at some positions."""
        return TensorRows(self.X[kept], self.y[kept])


def read(file: Path, rows: int | None) -> tuple[Split, Split]:
    """Read and encode the training and the held-out rows."""
    table = pq.read_table(file)
    if rows is not None:
        table = pa.concat_tables([table.slice(0, rows), table.slice(table.num_rows - rows)])
    inputs = inputs_of(table)
    halves = []
    for name in ("train", "test"):
        part = table.filter(pc.equal(table["split"], name))
        X = encode(part, inputs)[:, :-1]
        X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
        y = part["label"].to_numpy().astype(np.float64)
        halves.append(Split(torch.from_numpy(X), torch.from_numpy(y)))
    return halves[0], halves[1]


@dataclass
class Trained:
    """A model trained with noise, and the noise.

    Attributes:
        setting: Of the promise and the model.
        split: The training rows.
        deviation: Of the noise.
        model: The network.
        b: The noise that was drawn.
        kept: Positions of the rows it stands for.
        spent: Residual that it may hold.
    """

    setting: Setting
    split: Split
    deviation: float
    model: nn.Module
    b: Tensor
    kept: Tensor
    spent: float

    def residual(self) -> float:
        """What is really left of the gradient of the noisy objective."""
        return float(self.summed().gradient(theta_of(self.model)).norm())

    def summed(self) -> SummedObjective:
        """The noisy objective on the rows it stands for."""
        return SummedObjective(self.setting.objective, self.split.rows(self.kept), True, self.b)

    def problem(self, gone: int, random_bytes: Callable[[int], bytes]) -> Problem:
        """The deletion of one more row."""
        kept = self.kept[self.kept != gone]
        retained = self.split.rows(kept)
        return Problem(
            model=self.model,
            objective=self.setting.objective,
            kind="deletion",
            forget=self.split.rows(torch.tensor([gone])),
            replacement=empty(),
            retained=retained,
            retained_total=len(retained),
            recipe=Recipe("lbfgs", 1.0, 1024, 1, perturbation=Perturbation(self.deviation, 0.0)),
            full_retained=lambda: retained,
            untouched=lambda: retained,
            build=lambda: layer_of(torch.zeros_like(self.b), self.setting.dtype),
            spent=self.spent,
            random_bytes=random_bytes,
        )

    def after(self, problem: Problem, update: Update, b: Tensor, gone: int) -> "Trained":
        """The model after an update.

        Raises:
            TypeError: The update comes without a proof.
        """
        certified = update.certified or {}
        spent = certified["spent"]
        if not isinstance(spent, float):
            raise TypeError("an update without a proof")
        kept = self.kept[self.kept != gone]
        model = apply_update(problem.model, update)
        return replace(self, model=model, b=b, kept=kept, spent=spent)


def layer_of(theta: Tensor, dtype: torch.dtype) -> nn.Linear:
    """Return the layer with some parameters, the bias last."""
    layer = nn.Linear(theta.shape[1] - 1, theta.shape[0], dtype=dtype).eval()
    layer.weight.data = theta[:, :-1].to(dtype).contiguous()
    layer.bias.data = theta[:, -1].to(dtype).contiguous()
    return layer


def theta_of(model: nn.Module) -> Tensor:
    """Return the parameters of a layer in float64, the bias last."""
    weight, bias = model.get_parameter("weight"), model.get_parameter("bias")
    return torch.cat([weight, bias[:, None]], 1).detach().double()


def random_bytes(seed: int) -> Callable[[int], bytes]:
    """Return a source that gives the same bytes at every call."""
    return lambda count: random.Random(seed).randbytes(count)


def train(setting: Setting, split: Split, deviation: float, seed: int) -> Trained:
    """Train with noise drawn from a seed."""
    shape = (1, split.X.shape[1] + 1)
    b = gaussian_noise(shape, deviation, random_bytes(seed))
    everything = torch.arange(len(split.y))
    objective = SummedObjective(setting.objective, split.rows(everything), True, b)
    found = perturbed_optimum(objective, torch.zeros(shape, dtype=torch.float64), tolerance=1e-11)
    model = layer_of(found.theta, setting.dtype)
    made = Trained(setting, split, deviation, model, b, everything, 0.0)
    return replace(made, spent=made.residual())


@dataclass(frozen=True)
class Utility:
    """Shares on held-out rows."""

    accuracy: float
    macro_f1: float


def utility(model: nn.Module, held_out: Split) -> Utility:
    """Measure a model."""
    weight = theta_of(model)
    wanted = held_out.y > 0.5
    found = (held_out.X @ weight[0, :-1] + weight[0, -1]) > 0
    scores = []
    for answer in (False, True):
        hits = float(((found == answer) & (wanted == answer)).sum())
        named = float((found == answer).sum() + (wanted == answer).sum())
        scores.append(2 * hits / named if named else 0.0)
    return Utility(float((found == wanted).double().mean()), sum(scores) / 2)


@dataclass(frozen=True)
class Cost:
    """What one size of noise costs and buys; means over ``PROBES`` removals of one row."""

    deviation: float
    limit: float
    utility: Utility
    measured: float
    data_dependent: float
    worst_case: float


def cost_of(setting: Setting, halves: tuple[Split, Split], deviation: float) -> Cost:
    """Measure one size of noise."""
    training, held_out = halves
    trained = train(setting, training, deviation, seed=1)
    limit = largest_shift(setting.epsilon, setting.delta, deviation)
    if deviation == 0:
        return Cost(0.0, 0.0, utility(trained.model, held_out), math.nan, math.nan, math.nan)
    generator = torch.Generator().manual_seed(2)
    sums = {"residual": 0.0, "residual_data_dependent_bound": 0.0, "residual_worst_case_bound": 0.0}
    # A promise so weak that every removal passes: only the bounds are wanted.
    method = make_method("certified_removal", {"epsilon": 100.0, "delta": 0.1})
    generous = replace(trained, spent=0.0)
    for gone in torch.randperm(len(training.y), generator=generator)[:PROBES].tolist():
        facts = method_facts(method.unlearn(generous.problem(gone, random_bytes(0))))
        sums = {name: total + facts[name] / PROBES for name, total in sums.items()}
    return Cost(deviation, limit, utility(trained.model, held_out), *sums.values())


def method_facts(update: Update) -> dict[str, float]:
    """Return the numbers a method tells of its run."""
    return {k: float(v) for k, v in update.diagnostics.items() if isinstance(v, int | float)}


@dataclass
class Chain:
    """Removals one after the other.

    Attributes:
        removals: Rows removed.
        retrained: Trainings that the budget forced.
        broken: Removals after which something was above its bound.
        largest_share: Largest residual of a removal as a share of its data-dependent bound.
        largest_spent_share: Largest real residual as a share of what is said to be spent.
        seconds: Of the removals.
        training_seconds: Of the trainings.
    """

    removals: int = 0
    retrained: int = 0
    broken: int = 0
    largest_share: float = 0.0
    largest_spent_share: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0

    def watch(self, trained: Trained, facts: dict[str, float]) -> None:
        """Hold a removal against its bounds."""
        measured = facts["residual"]
        bound, worst = (
            facts["residual_data_dependent_bound"],
            facts["residual_worst_case_bound"],
        )
        left = trained.residual()
        self.removals += 1
        self.broken += not (measured <= bound <= worst and left <= trained.spent)
        self.largest_share = max(self.largest_share, measured / bound)
        self.largest_spent_share = max(self.largest_spent_share, left / trained.spent)


def chain_of(
    setting: Setting, training: Split, deviation: float, removals: int
) -> tuple[Chain, Trained]:
    """Remove random rows until so many removals were certified, training when they cannot be."""
    chain, trained = Chain(), train(setting, training, deviation, seed=3)
    generator = torch.Generator().manual_seed(4)
    order = torch.randperm(len(training.y), generator=generator).tolist()
    method = make_method("certified_removal", {"epsilon": setting.epsilon, "delta": setting.delta})
    for number, gone in enumerate(order):
        if chain.removals == removals:
            break
        problem = trained.problem(gone, random_bytes(100 + number))
        started = time.perf_counter()
        try:
            update = method.unlearn(problem)
            chain.seconds += time.perf_counter() - started
            trained = trained.after(problem, update, trained.b, gone)
            chain.watch(trained, method_facts(update))
        except BudgetSpent:
            started = time.perf_counter()
            update = make_method("retrain", {}).unlearn(problem)
            chain.training_seconds += time.perf_counter() - started
            b = gaussian_noise(tuple(trained.b.shape), deviation, random_bytes(100 + number))
            trained = trained.after(problem, update, b, gone)
            chain.retrained += 1
    return chain, trained


def costs_table(setting: Setting, costs: list[Cost]) -> Table:
    """Lay out what noise costs."""
    title = f"epsilon {setting.epsilon:g}, delta {setting.delta:g}, weight decay {setting.decay:g}"
    table = Table(title=title, box=SIMPLE)
    names = ("noise", "limit", "accuracy", "macro-F1", "residual", "bound", "worst case")
    for name in (*names, "removals by residual", "by bound", "by worst case"):
        table.add_column(name, justify="right")
    for cost in costs:
        each = (cost.measured, cost.data_dependent, cost.worst_case)
        counts = ["-" if math.isnan(x) else f"{cost.limit / x:,.0f}" for x in each]
        shown = ["-" if math.isnan(x) else f"{x:.2e}" for x in each]
        table.add_row(
            f"{cost.deviation:g}",
            f"{cost.limit:.3g}",
            f"{cost.utility.accuracy:.4f}",
            f"{cost.utility.macro_f1:.4f}",
            *shown,
            *counts,
        )
    return table


def chain_table(name: str, chain: Chain, before: Utility, after: Utility) -> Table:
    """Lay out the removals."""
    table = Table(title=f"one row after the other, parameters in {name}", box=SIMPLE)
    table.add_column("")
    table.add_column("", justify="right")
    per_removal = chain.seconds / max(1, chain.removals)
    per_training = chain.training_seconds / max(1, chain.retrained)
    for label, value in (
        ("removals", f"{chain.removals}"),
        ("of them above a bound", f"{chain.broken}"),
        ("largest residual / its bound", f"{chain.largest_share:.3f}"),
        ("largest real residual / spent", f"{chain.largest_spent_share:.3f}"),
        ("trainings forced by the budget", f"{chain.retrained}"),
        ("seconds a removal", f"{per_removal:.3f}"),
        ("seconds a training", f"{per_training:.3f}" if chain.retrained else "-"),
        ("accuracy before, after", f"{before.accuracy:.4f}, {after.accuracy:.4f}"),
        ("macro-F1 before, after", f"{before.macro_f1:.4f}, {after.macro_f1:.4f}"),
    ):
        table.add_row(label, value)
    return table


def main() -> int:
    """Run the benchmark and print its tables.

    Returns:
        The exit code: 1 if a bound did not hold.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--rows", type=int, help="rows from either end; all of them")
    parser.add_argument("--removals", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=3.0, help="of the removals in a row")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    given = parser.parse_args()
    torch.set_num_threads(1)
    setting = Setting(given.epsilon, given.delta, given.weight_decay, DTYPES[given.dtype])
    training, held_out = read(given.data / "adult.parquet", given.rows)
    console = Console(width=130)
    larger = max(float(held_out.y.mean()), 1 - float(held_out.y.mean()))
    console.print(f"{len(training.y)} training rows, {training.X.shape[1] + 1} parameters")
    console.print(
        f"always the larger class: accuracy {larger:.4f}, macro-F1 {larger / (1 + larger):.4f}"
    )
    costs = [cost_of(setting, (training, held_out), noise) for noise in NOISES]
    console.print(costs_table(setting, costs))
    before = utility(train(setting, training, given.noise, seed=3).model, held_out)
    chain, last = chain_of(setting, training, given.noise, given.removals)
    console.print(chain_table(given.dtype, chain, before, utility(last.model, held_out)))
    verdict = "held every time" if not chain.broken else f"FAILED {chain.broken} times"
    console.print(f"bounds: {verdict}")
    return int(bool(chain.broken))


if __name__ == "__main__":
    sys.exit(main())
