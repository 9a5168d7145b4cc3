"""Images: a numeric list, scaled and standardised per channel."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore
from app.infra.rows.input_kinds import ImageInputs
from workers.inputs.base import Encoder
from workers.inputs.numbers import to_device


@dataclass(frozen=True)
class ImageEncoder(Encoder[ImageInputs]):
    """``(x * scale - mean) / std`` in float32.

    A null image is all zeros after encoding: the mean image, not a black one.
    """

    def encode(
        self,
        store: RowStore,
        rows: NDArray[np.int64],
        overlay: Overlay | None = None,
        device: str = "cpu",
    ) -> Tensor:
        """Return float32 ``(n, channels, height, width)``; see ``Encoder``."""
        values, valid = store.read(self.spec.column, rows, overlay)
        channels, height, width = self.spec.shape
        pixels = to_device(np.asarray(values), device).to(torch.float32)
        if self.spec.layout == "hwc":
            pixels = pixels.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()
        else:
            pixels = pixels.reshape(-1, channels, height, width)
        mean = torch.tensor(self.spec.mean, device=device).reshape(-1, 1, 1)
        std = torch.tensor(self.spec.std, device=device).reshape(-1, 1, 1)
        # In place, for one copy of the batch; float32 columns were copied by the reading.
        pixels.mul_(self.spec.scale).sub_(mean).div_(std)
        pixels[torch.from_numpy(~valid).to(device)] = 0.0
        return pixels
