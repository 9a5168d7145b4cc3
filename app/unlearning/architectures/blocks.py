"""Modules of ``sequential`` architectures that torch does not have."""

from torch import Tensor, nn


class Residual(nn.Module):
    """``layers(x) + shortcut(x)``; without a shortcut ``layers(x) + x``.

    State-dict keys start with ``layers.<j>.`` and ``shortcut.<j>.``.
    """

    def __init__(self, layers: nn.Sequential, shortcut: nn.Sequential | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Add both paths.

        Raises:
            ValueError: The two paths end in different shapes; broadcasting would hide it.
        """
        path = self.layers(x)
        skipped = x if self.shortcut is None else self.shortcut(x)
        if path.shape != skipped.shape:
            raise ValueError(
                f"a residual block adds shapes {list(path.shape)} and {list(skipped.shape)}"
            )
        total: Tensor = path + skipped
        return total


class Mean(nn.Module):
    """Mean over one dimension, for instance over the positions of a sequence."""

    def __init__(self, dim: int, *, keepdim: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.keepdim = keepdim

    def forward(self, x: Tensor) -> Tensor:
        """Average; (batch, ..., n, ...) -> (batch, ..., ...)."""
        return x.mean(self.dim, keepdim=self.keepdim)


class Transpose(nn.Module):
    """Swap two dimensions, for instance (batch, length, channels) for a convolution."""

    def __init__(self, dim0: int, dim1: int) -> None:
        super().__init__()
        self.dim0 = dim0
        self.dim1 = dim1

    def forward(self, x: Tensor) -> Tensor:
        """Return a view with both dimensions swapped."""
        return x.transpose(self.dim0, self.dim1)
