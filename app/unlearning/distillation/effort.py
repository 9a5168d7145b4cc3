"""What running a network costs, counted and not timed, so that decisions repeat themselves."""

import math

import torch
from torch import Tensor, nn

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


def affordable_passes(
    share: float, recipe: Recipe | None, *, rows: float, of: int, cost: float, least: int, most: int
) -> int:
    """How many passes of the head over its rows a share of a retraining pays for.

    Args:
        share: Of a retraining's multiply-adds.
        recipe: Says how many epochs a retraining takes; None: ``most`` passes.
        rows: Rows of an epoch of it.
        of: Rows of a pass of the head.
        cost: Multiply-adds of the head by those of the network, for one row, in (0, 1].
        least: Never fewer.
        most: Never more.

    Returns:
        Passes.

    >>> recipe = Recipe("adam", 1e-3, 64, epochs=30)
    >>> affordable_passes(0.025, recipe, rows=4000, of=4000, cost=0.07, least=5, most=20)
    10
    """
    if recipe is None:
        return most
    passes = share * recipe.epochs * rows / max(1, of) / max(cost, 1e-6)
    return max(least, min(most, math.floor(passes)))
