"""What a network makes of one row, before any memory is asked for: how much, how many outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app.unlearning.architectures.registry import build
from app.unlearning.curvature.evaluation import outputs_of


@dataclass(frozen=True)
class Forward:
    """A forward pass over one row that was not run.

    Attributes:
        activations: Scalars of all results that are no views.
        outputs: The size of the row's outputs along their last axis: classes of a classifier.
    """

    activations: int
    outputs: int


def trace_forward(architecture: Mapping[str, Any], inputs: Tensor) -> Forward | None:
    """Find out what a forward pass over one row makes.

    The network runs on the meta device: nothing is computed and no memory is used, whatever the
    sizes. A few weights can make activations of any size, as a convolution with wide padding does.

    Args:
        architecture: ``{"builder": name, "config": {...}}``.
        inputs: One row, ``(1, ...)``; only its shape and dtype count.

    Returns:
        The counts, or None where the network does not run on such a row or not on the meta device.

    Raises:
        ArchitectureError: The description cannot be built.
    """
    model = build(architecture)
    row = torch.empty_like(inputs, device="meta")
    counting = _Counting()
    try:
        with torch.no_grad(), counting:
            outputs = outputs_of(model, row)
    except Exception:
        # A network from elsewhere may raise anything.
        return None
    return Forward(counting.scalars, outputs.shape[-1] if outputs.dim() > 1 else 1)


class _Counting(TorchDispatchMode):
    """Adds up the sizes of what operations return."""

    def __init__(self) -> None:
        super().__init__()
        self.scalars = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count its results."""
        results = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            self.scalars += sum(t.numel() for t in tree_leaves(results) if isinstance(t, Tensor))
        return results
