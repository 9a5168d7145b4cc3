"""How precisely products of float32 matrices are computed for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["highest", "high", "medium"]
"""``highest`` is float32. ``medium`` multiplies in bfloat16 and adds in float32 where the processor
can, ``high`` in TensorFloat32 or two bfloat16 numbers; elsewhere both are float32, too."""


@contextmanager
def products_in(precision: Precision | None) -> Iterator[None]:
    """Compute products of float32 matrices in this precision.

    Args:
        precision: None leaves it to the process.

    Yields:
        Nothing.
    """
    if precision is None:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
