"""Run a network in eval mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


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
