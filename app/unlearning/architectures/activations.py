"""How much memory a network needs for one row, before any of it is asked for."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app.unlearning.architectures.registry import build


def count_activations(architecture: Mapping[str, Any], inputs: Tensor) -> int | None:
    """Count the scalars that a forward pass over one row makes.

    The network runs on the meta device: nothing is computed and no memory is used, whatever the
    sizes. A few weights can make activations of any size, as a convolution with wide padding does.

    Args:
        architecture: ``{"builder": name, "config": {...}}``.
        inputs: One row, ``(1, ...)``; only its shape and dtype count.

    Returns:
        Scalars of all results that are no views, or None where the network does not run on such
        a row or not on the meta device.

    Raises:
        ArchitectureError: The description cannot be built.
    """
    model = build(architecture)
    row = torch.empty_like(inputs, device="meta")
    counting = _Counting()
    try:
        with torch.no_grad(), counting:
            model(row)
    except Exception:
        # A network from elsewhere may raise anything.
        return None
    return counting.scalars


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
