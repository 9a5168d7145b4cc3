"""Recognise models whose training objective is convex in the parameters."""

from torch import nn

from app.unlearning.objective import Objective

# Layers without parameters that do not depend on the parameters before them when they come first.
_FIXED = (nn.Flatten, nn.Identity, nn.Dropout)


def is_convex(model: nn.Module, objective: Objective) -> bool:
    """Whether the objective is convex: one linear layer, after fixed layers at most.

    Every objective here is convex in the outputs, and the outputs of a single linear layer are
    linear in the parameters. Strictly convex, with one optimum, if there is weight decay. A model
    that is convex without being recognised here is treated as a network.

    Args:
        model: The network.
        objective: What it was trained on; all objectives known here are convex in the outputs.

    Returns:
        True if it is recognised.
    """
    del objective
    if isinstance(model, nn.Linear):
        return True
    if type(model).forward is not nn.Sequential.forward:
        return False
    layers = [layer for layer in model.children() if not isinstance(layer, _FIXED)]
    return len(layers) == 1 and isinstance(layers[0], nn.Linear)
