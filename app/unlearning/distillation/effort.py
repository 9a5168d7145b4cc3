"""What running a network costs, counted and not timed, so that decisions repeat themselves."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe


def multiply_adds(model: nn.Module, inputs: Tensor) -> float:
    """Multiply-adds of a forward pass, per row, in the layers that hold weights.

    A weight of two or more dimensions is used once for each output position (one of a linear
    layer, the pixels of a convolution, the tokens of a sequence); an embedding only copies.

    Args:
        model: The network; left as it is.
        inputs: (b, ...), at least one row.

    Returns:
        Multiply-adds; 0 without weights.
    """
    total = 0.0

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal total
        first = output[0] if isinstance(output, tuple) else output
        if not isinstance(first, Tensor) or isinstance(module, nn.Embedding):
            return
        for weight in module.parameters(recurse=False):
            if weight.dim() > 1:
                positions = first.numel() / len(inputs) / weight.shape[0]
                total += weight.numel() * max(1.0, positions)

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total


@dataclass(frozen=True)
class Effort:
    """What a retraining costs, in rows that the head is trained on.

    Attributes:
        recipe: Of the network, if known.
        rows: Retained rows in all.
        cost: Multiply-adds of the head by those of the network, for one row, in (0, 1].
    """

    recipe: Recipe | None
    rows: float
    cost: float

    def times(self, share: float, *, of: int, least: int, most: int) -> int:
        """How often the head can be trained on some rows for a share of a retraining.

        Args:
            share: Of a retraining's multiply-adds.
            of: Rows that the head is trained on each time.
            least: Never fewer.
            most: Never more; what is returned if no recipe is known.

        Returns:
            Times.

        >>> recipe = Recipe("adam", 1e-3, 64, epochs=30)
        >>> Effort(recipe, rows=4000, cost=0.07).times(0.025, of=4000, least=5, most=20)
        10
        """
        if self.recipe is None:
            return most
        times = share * self.recipe.epochs * self.rows / max(1, of) / max(self.cost, 1e-6)
        return max(least, min(most, math.floor(times)))

    def share(self, *, head: float, network: float) -> float | None:
        """The share of a retraining that some work costs; None if no recipe is known.

        Args:
            head: Rows that the head is trained on.
            network: Rows that the network is run on, forward only: a third of training on them.
        """
        if self.recipe is None:
            return None
        whole = self.recipe.epochs * self.rows
        return (head * self.cost + network / 3) / max(1.0, whole)


def effort_of(problem: Problem, head: nn.Module, features: Tensor) -> Effort:
    """Count what a problem's network and a head cost.

    Args:
        problem: The problem; at least one row is deleted.
        head: The head.
        features: (n, ...) its inputs, n >= 1.

    Returns:
        The effort.
    """
    one = torch.zeros(1, dtype=torch.int64)
    whole = multiply_adds(problem.model, problem.forget.take(one).inputs)
    cost = multiply_adds(head, features[:1]) / whole if whole else 1.0
    return Effort(problem.recipe, problem.retained_total, cost)
