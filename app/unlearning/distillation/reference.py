"""A fresh head, fitted on retained rows only: what a network that never saw the deleted rows says.

It is trained on the features of the network's own body, by Adam, for a few passes. It never reads
a deleted row; only the body's features may remember them.
"""

import copy
from collections.abc import Callable

from torch import nn

from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.problem import unreported
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Rows
from app.unlearning.training import seeded, train

_LEARNING_RATE = 2e-3
_BATCH = 128
# Steps of a pass below which smaller batches are taken, so that a few passes can fit anything.
_STEPS = 32
_SMALLEST_BATCH = 16


def fit_reference(
    head: nn.Module,
    features: Rows,
    objective: Objective,
    passes: int,
    seed: int,
    progress: Callable[[float], None] = unreported,
) -> nn.Module:
    """Train a head of the same architecture from fresh initial values.

    Args:
        head: The head; not modified, and of its values nothing is used.
        features: Retained rows with the body's features as inputs; at least one.
        objective: What it is trained on, weight decay included.
        passes: Passes over the rows.
        seed: Of the initial values and the order.
        progress: Told the fraction done.

    Returns:
        The reference, in eval mode.

    Raises:
        NotApplicable: A layer of the head cannot be initialised anew, or there are no rows.
        NonFinite: Training diverged.
    """
    reference = fresh(head, seed)
    batch = min(_BATCH, max(_SMALLEST_BATCH, len(features) // _STEPS))
    recipe = Recipe("adam", _LEARNING_RATE, batch, passes, seed=seed, schedule="cosine")
    train(reference, features, objective, recipe, progress=progress)
    return reference.requires_grad_(False)


def fresh(head: nn.Module, seed: int) -> nn.Module:
    """A copy with new initial values and statistics, drawn layer by layer as torch does.

    Args:
        head: What to copy.
        seed: Of the draw.

    Returns:
        The copy.

    Raises:
        NotApplicable: A layer holds parameters but cannot be initialised anew.
    """
    copied = copy.deepcopy(head)
    with seeded(seed):
        for module in copied.modules():
            reset = getattr(module, "reset_parameters", None)
            reset = reset or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise NotApplicable(f"{type(module).__name__} cannot be initialised anew")
    return copied
