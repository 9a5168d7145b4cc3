"""The coordinates a method may change, kept as one boolean mask per tensor."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """A set S of scalars of a network's parameters.

    A vector "on S" is flat, of shape ``(|S|,)``, in the order of ``masks`` and row-major within
    each tensor.

    Attributes:
        masks: Parameter name to a boolean tensor of the parameter's shape and device. Parameters
            that are missing have nothing selected.
    """

    masks: Mapping[str, Tensor]

    @classmethod
    def everything(cls, parameters: Mapping[str, Tensor]) -> "Selection":
        """Select every scalar of every parameter."""
        return cls({n: torch.ones_like(p, dtype=torch.bool) for n, p in parameters.items()})

    @property
    def count(self) -> int:
        """The number of selected scalars, |S|."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters with at least one selected scalar, in order."""
        return tuple(name for name, mask in self.masks.items() if bool(mask.any()))

    def touched(self) -> "Selection":
        """The same set without the tensors in which nothing is selected."""
        return Selection({name: self.masks[name] for name in self.names})

    def gather(self, values: Mapping[str, Tensor]) -> Tensor:
        """Read the selected scalars of ``values``; shape ``(|S|,)``."""
        return torch.cat([values[name][mask] for name, mask in self.masks.items()])

    def scatter(self, vector: Tensor) -> dict[str, Tensor]:
        """Spread a vector on S over tensors that are zero elsewhere.

        Raises:
            ValueError: The vector's length is not |S|.
        """
        result = {}
        for name, mask, part in self._split(vector):
            full = torch.zeros(mask.shape, dtype=vector.dtype, device=vector.device)
            full[mask] = part
            result[name] = full
        return result

    def add(self, values: Mapping[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        """Return the selected tensors of ``values`` plus a step on S, as new tensors.

        Scalars outside S are copied, not computed, so they keep their bits. Differentiable in
        ``step``.

        Raises:
            ValueError: The step's length is not |S|.
        """
        result = {}
        for name, mask, part in self._split(step):
            old = values[name].detach()
            result[name] = old.masked_scatter(mask, old[mask] + part.to(old.dtype))
        return result

    def _split(self, vector: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        sizes = [int(mask.sum()) for mask in self.masks.values()]
        if vector.shape != (sum(sizes),):
            raise ValueError(f"a vector of {sum(sizes)} scalars expected, got {vector.shape}")
        return [
            (name, mask, part)
            for (name, mask), part in zip(self.masks.items(), vector.split(sizes), strict=True)
        ]
