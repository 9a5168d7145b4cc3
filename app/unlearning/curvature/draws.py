"""Random numbers for a stream of rows, the same however the rows are cut into batches.

They are drawn row by row on the CPU, so that neither the batch size nor the device changes them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_BITS = 56
"""Random bits taken from one 64-bit number: seven whole bytes, of which none holds its sign."""

_MANY = 512
"""Signs of a row from which on unpacking bits is worth its preparations."""


class Draws:
    """Random signs and uniform numbers, in the order of the rows."""

    def __init__(self, seed: int) -> None:
        """Start at the beginning."""
        self._generator = torch.Generator().manual_seed(seed)

    def signs(self, rows: int, shape: Sequence[int], like: Tensor) -> Tensor:
        """Draw independent +1 or -1.

        Args:
            rows: For how many rows.
            shape: What each of them needs.
            like: Gives the device and the dtype.

        Returns:
            (rows, *shape).
        """
        wanted = torch.Size(shape).numel()
        if wanted < _MANY:
            bits = torch.randint(0, 2, (rows, *shape), generator=self._generator, dtype=torch.int8)
            return bits.mul_(2).sub_(1).to(like.device, like.dtype)
        numbers = torch.empty(rows, -(-wanted // _BITS), dtype=torch.int64)
        numbers.random_(generator=self._generator)
        places = numbers[..., None].view(torch.uint8)[..., : _BITS // 8].int().to(like.device)
        signs = torch.nn.functional.embedding(places, _signs_of_bytes(like))
        return signs.reshape(rows, -1)[:, :wanted].reshape(rows, *shape)

    def uniform(self, rows: int, shape: Sequence[int], like: Tensor) -> Tensor:
        """Draw independent numbers strictly between 0 and 1; arguments as for :meth:`signs`."""
        numbers = torch.rand(rows, *shape, generator=self._generator)
        # A normal number drawn from them must be finite.
        return numbers.clamp_(1e-7, 1 - 1e-7).to(like.device, like.dtype)


def _signs_of_bytes(like: Tensor) -> Tensor:
    """Return the bits of every byte as signs, (256, 8)."""
    values = torch.arange(256, device=like.device)[:, None]
    bits = (values >> torch.arange(8, device=like.device)) & 1
    return bits.to(like.dtype).mul_(2).sub_(1)
