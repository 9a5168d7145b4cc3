"""Recognise models whose training objective is convex in the parameters."""

from typing import TypeGuard

from torch import nn

from app.unlearning.objective import Objective
from app.unlearning.truncation import has_hooks, is_plain_sequence, layers_in_order


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
    if is_bare_linear(model):
        return [], model
    if not is_plain_sequence(model):
        return None
    layers = [layer for _, layer in layers_in_order(model)]
    if any(has_hooks(layer) for layer in layers):
        return None
    # In eval mode these pass on what they get.
    layers = [layer for layer in layers if type(layer) not in (nn.Identity, nn.Dropout)]
    *before, last = layers or [model]
    if is_bare_linear(last) and all(type(layer) is nn.Flatten for layer in before):
        return before, last
    return None


def is_bare_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a module is torch's linear layer as it is.

    A subclass may compute something else, as may one whose weight is computed from other parameters
    (weight norm), and so may a hook.
    """
    return type(module) is nn.Linear and not has_hooks(module)
