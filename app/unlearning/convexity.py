"""Recognise models whose training objective is convex in the parameters."""

from torch import nn

from app.unlearning.objective import Objective


def is_convex(model: nn.Module, objective: Objective) -> bool:
    """Whether the objective is convex: one linear layer, after flattening at most.

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
    return only_layer(model) is not None


def only_layer(model: nn.Module) -> nn.Linear | None:
    """Return the linear layer that is the whole model but for fixed layers; None if it is not."""
    found = _split(model)
    return None if found is None else found[1]


def layers_before(model: nn.Module) -> list[nn.Module]:
    """Return the fixed layers that change what the only layer of a convex model is given."""
    found = _split(model)
    return [] if found is None else found[0]


def _split(model: nn.Module) -> tuple[list[nn.Module], nn.Linear] | None:
    if isinstance(model, nn.Linear):
        return [], model
    if type(model).forward is not nn.Sequential.forward:
        return None
    # In eval mode the others pass on what they get.
    layers = [c for c in model.children() if not isinstance(c, nn.Identity | nn.Dropout)]
    *before, last = layers or [model]
    if isinstance(last, nn.Linear) and all(isinstance(layer, nn.Flatten) for layer in before):
        return before, last
    return None
