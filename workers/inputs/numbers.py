"""Cells of numbers as tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# torch knows these unsigned types by name only: few of its operations take them.
_WIDENED = {"uint16": "int32", "uint32": "int64", "uint64": "float64"}


def to_device(values: NDArray[Any], device: str) -> Tensor:
    """Return numbers as a tensor on ``device``; they travel in their own, mostly small, type."""
    widened = _WIDENED.get(values.dtype.name)
    if widened is not None:
        values = values.astype(widened)
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)
