"""Run a network as it answers: in eval mode, and for its outputs alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from app.unlearning.errors import NotApplicable


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode and record gradients; restore both afterwards.

    Dropout is off and batch norm uses its running statistics: a gradient per row exists only then.

    Args:
        model: The network; only its ``training`` flags are touched.

    Yields:
        Nothing.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module in training:
            module.training = True


def outputs_of(run: Callable[[Tensor], Any], inputs: Tensor) -> Tensor:
    """Run a network and return its outputs alone.

    Language models return a record of several things, of which the outputs are the ``logits``;
    others return a tuple that begins with them. Where a network drops every axis of length one, so
    also that of a single row, that axis is put back.

    Args:
        run: The network.
        inputs: (b, ...).

    Returns:
        (b, ...).

    Raises:
        NotApplicable: What it returned holds no outputs, or it wrote over its inputs, which are the
            caller's rows and must be the same at the next look.
    """
    version = inputs._version  # noqa: SLF001 - torch has no other count of writes
    returned = run(inputs)
    if inputs._version != version:  # noqa: SLF001 - as above
        raise NotApplicable("the network writes over its inputs")
    if not isinstance(returned, Tensor):
        first = returned[0] if isinstance(returned, tuple | list) and returned else None
        returned = getattr(returned, "logits", first)
    if not isinstance(returned, Tensor):
        raise NotApplicable("the network does not return its outputs as a tensor")
    if len(inputs) == 1 and returned.shape[:1] != (1,):
        return returned[None]
    return returned
