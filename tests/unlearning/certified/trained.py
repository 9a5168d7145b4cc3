"""Linear models trained with noise in the objective, and the problems of deleting from them."""

import random
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from app.unlearning.certified import SummedObjective, gaussian_noise, perturbed_optimum
from app.unlearning.objective import LossName, Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.recipe import Perturbation, Recipe
from app.unlearning.rows import Rows, TensorRows, concatenate, empty
from app.unlearning.update import Update, apply_update

FEATURES = 5
DEVIATION = 20.0


def random_bytes(seed: int) -> Callable[[int], bytes]:
    """The same bytes at every call."""
    return lambda count: random.Random(seed).randbytes(count)


def drawn_rows(count: int, seed: int, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Overlapping classes in the unit ball, float64."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(
        classes, FEATURES, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    y = torch.randint(classes, (count,), generator=generator)
    X = 0.6 * centres[y] + torch.randn(count, FEATURES, generator=generator, dtype=torch.float64)
    return X / X.norm(dim=1, keepdim=True).clamp(min=1.0), y


def noisy_recipe(deviation: float = DEVIATION, gradient_norm: float = 0.0) -> Recipe:
    """A recipe that declares noise."""
    return Recipe("lbfgs", 1.0, 100, 100, perturbation=Perturbation(deviation, gradient_norm))


def layer_of(theta: Tensor, dtype: torch.dtype = torch.float64) -> nn.Linear:
    """The linear layer with these parameters, the bias last."""
    layer = nn.Linear(theta.shape[1] - 1, theta.shape[0], dtype=dtype).eval()
    with torch.no_grad():
        layer.weight.copy_(theta[:, :-1])
        layer.bias.copy_(theta[:, -1])
    return layer


def theta_of(model: nn.Module) -> Tensor:
    """The parameters of a linear layer, float64, the bias last."""
    assert isinstance(model, nn.Linear)
    return torch.cat([model.weight, model.bias[:, None]], 1).detach().double()


class Case:
    """A perturbed model with all it was trained on; the noise is known here, and only here."""

    def __init__(
        self,
        *,
        rows: int = 300,
        loss: LossName = "binary_cross_entropy",
        decay: float = 0.05,
        deviation: float = DEVIATION,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        classes = 3 if loss == "cross_entropy" else 2
        self.X, labels = drawn_rows(rows, seed + 100, classes)
        self.y = labels if loss == "cross_entropy" else labels.double()
        self.objective = Objective(loss, decay)
        outputs = classes if loss == "cross_entropy" else 1
        shape = (outputs, FEATURES + 1)
        self.b = gaussian_noise(shape, deviation, random_bytes(seed))
        self.deviation = deviation
        self.dtype = dtype
        self.model = layer_of(self.optimum(self.rows(torch.arange(rows)), self.b), dtype)

    def rows(self, positions: Tensor) -> Rows:
        if not len(positions):
            return empty()
        return TensorRows(self.X[positions].to(self.dtype), self.y[positions].to(self._labels()))

    def _labels(self) -> torch.dtype:
        return torch.int64 if self.y.dtype == torch.int64 else self.dtype

    def summed(self, rows: Rows, b: Tensor | None = None) -> SummedObjective:
        return SummedObjective(self.objective, rows, has_bias=True, linear=b)

    def optimum(self, rows: Rows, b: Tensor) -> Tensor:
        return perturbed_optimum(self.summed(rows, b), torch.zeros_like(b), tolerance=1e-12).theta

    def residual(self, model: nn.Module, rows: Rows) -> float:
        """The gradient left of the objective with the noise that was really drawn."""
        return float(self.summed(rows, self.b).gradient(theta_of(model)).norm())

    def problem(
        self,
        forget: Tensor,
        kept: Tensor,
        *,
        kind: Kind = "deletion",
        model: nn.Module | None = None,
        spent: float = 0.0,
    ) -> Problem:
        old, untouched = self.rows(forget), self.rows(kept)
        new = {
            "deletion": empty(),
            "label_correction": self._relabelled(forget),
            "feature_correction": self._shrunk(forget),
        }[kind]
        network = self.model if model is None else model
        return Problem(
            model=network,
            objective=self.objective,
            kind=kind,
            forget=old,
            replacement=new,
            retained=untouched,
            retained_total=len(untouched),
            recipe=noisy_recipe(self.deviation),
            full_retained=lambda: untouched,
            untouched=lambda: untouched,
            spent=spent,
            build=lambda: layer_of(torch.zeros_like(self.b), self.dtype),
            random_bytes=random_bytes(9),
        )

    def _relabelled(self, positions: Tensor) -> Rows:
        batch = self.rows(positions).take(torch.arange(len(positions)))
        classes = 3 if self.objective.name == "cross_entropy" else 2
        return TensorRows(batch.inputs, (batch.targets + 1) % classes)

    def _shrunk(self, positions: Tensor) -> Rows:
        batch = self.rows(positions).take(torch.arange(len(positions)))
        return TensorRows(batch.inputs * 0.5, batch.targets)


def edited(problem: Problem) -> Rows:
    """The rows after the edit."""
    assert problem.untouched is not None
    return concatenate(problem.untouched(), problem.replacement)


def published(problem: Problem, update: Update) -> nn.Module:
    """The network after the update."""
    return apply_update(problem.model, update)


def with_recipe(problem: Problem, recipe: Recipe | None) -> Problem:
    """The same problem under another declaration."""
    return replace(problem, recipe=recipe)
