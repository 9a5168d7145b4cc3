"""Scores by which scalars are ranked for a selection.

All take and return dictionaries from parameter name to a tensor of the parameter's shape. Gradient
``g`` and curvature ``h`` must be of the same loss with the same reduction (here: the mean loss on
the edited data, weight decay included).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from app.unlearning.selection.selection import Selection


def decrement_scores(
    gradient: Mapping[str, Tensor], curvature: Mapping[str, Tensor], damping: float
) -> dict[str, Tensor]:
    """Each scalar's own damped Newton decrement, ``g^2 / (h + damping)``.

    On a separable quadratic loss this is twice the decrease that the exact minimisation over the
    scalar alone brings. Negative curvature estimates count as zero.

    Args:
        gradient: Gradient of the mean loss.
        curvature: Diagonal curvature of the same loss.
        damping: Added to the curvature, in its units; > 0 where the curvature may vanish.

    Returns:
        The scores.
    """
    return {
        name: g.square() / (curvature[name].to(g.dtype).clamp(min=0) + damping)
        for name, g in gradient.items()
    }


def magnitude_scores(gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The magnitude of the gradient, ``|g|`` (as in SalUn, Fan et al. 2024)."""
    return {name: g.abs() for name, g in gradient.items()}


def random_scores(parameters: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Uniform random scores, a control; the same on every device for a given seed."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(p.shape, generator=generator, dtype=torch.float64).to(p.device)
        for name, p in parameters.items()
    }


def last_layer(model: nn.Module) -> Selection:
    """Select all parameters of the last module that has any of its own, a control.

    Those it shares with an earlier module, such as tied embeddings, are selected too.
    """
    last: list[nn.Parameter] = []
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        last = own or last
    # A tied parameter is known to the model under its first name only.
    names = {id(p): name for name, p in model.named_parameters()}
    return Selection.everything({names[id(p)]: p for p in last})
