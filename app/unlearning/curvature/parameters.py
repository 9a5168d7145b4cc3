"""The parameters a diagonal is taken over, and the sums it is accumulated in."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from app.unlearning.errors import NotApplicable


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters by name, each once, in the model's order.

    Args:
        model: The network.

    Returns:
        Name to parameter.

    Raises:
        NotApplicable: Two of them share memory without being the same parameter.
    """
    named: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    owners: dict[int, str] = {}
    for name, parameter in named.items():
        owner = owners.setdefault(parameter.data_ptr(), name)
        if owner != name and parameter.numel():
            raise NotApplicable(f"{owner} and {name} share memory but are not one parameter")
    return named


def accumulators(
    parameters: Mapping[str, Tensor], out: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return zeroed tensors of the shapes of the parameters.

    Args:
        parameters: By name.
        out: What to zero and use; None allocates, in float32 for parameters of fewer bits: a sum
            in bfloat16 grows no more once it is a few hundred times what is added to it.

    Returns:
        Parameter name to accumulator.

    Raises:
        NotApplicable: ``out`` lacks a parameter or has another shape.
    """
    if out is None:
        return {
            name: torch.zeros_like(p, dtype=torch.promote_types(p.dtype, torch.float32)).detach()
            for name, p in parameters.items()
        }
    for name, parameter in parameters.items():
        if name not in out or out[name].shape != parameter.shape:
            raise NotApplicable(f"no accumulator of the right shape for {name}")
    return {name: out[name].zero_() for name in parameters}
