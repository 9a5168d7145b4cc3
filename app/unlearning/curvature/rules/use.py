"""One use of one parameter by one operation, and what can be read off it.

An operation that consumes a parameter is recorded with what it needs to turn the gradient of a
scalar with respect to its output into the gradient of that scalar with respect to the parameter,
*separately for every row*: for a linear layer its input, for a norm the normalised input. Nothing
here keeps a graph alive and nothing forms the per-row gradients of a whole batch at once, except
where they are as small as the output.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

CACHED_ELEMENTS = 1 << 18
"""Elements of a temporary tensor that still fits the second-level cache of one core."""

DEVICE_ELEMENTS = 1 << 24
"""Elements of a temporary tensor on an accelerator, where few large calls are best."""


@dataclass(frozen=True)
class Factors:
    """Derivatives that are products of one input and one scalar of the output gradient.

    For coordinate j of row n the derivative is
    ``inputs[n, incoming[j]] * gradient[n, outgoing[j]]``.

    Attributes:
        inputs: (rows, features), the same for every backward pass; None for ones.
        incoming: (k,) features; nothing is read from it where there are none.
        outgoing: (k,) positions in the flattened output of one row.
    """

    inputs: Tensor | None
    incoming: Tensor
    outgoing: Tensor


class Use(ABC):
    """One use of one parameter.

    Attributes:
        slot: Which of the tracked parameters this is.
        takes_several: Taking in several passes together is cheaper than one after the other.
    """

    def __init__(self, slot: int) -> None:
        """Record the slot."""
        self.slot = slot
        self.takes_several = False

    def fold(self, gradient: Tensor, total: Tensor) -> None:
        """Take in the output gradient of one backward pass.

        Args:
            gradient: Gradient with respect to the operation's output.
            total: Of the parameter's shape; receives the sum over rows of the squared per-row
                parameter gradients, now or in :meth:`finish`.
        """
        self.add_squares(gradient, total)

    def finish(self, total: Tensor) -> None:  # noqa: B027 - most rules put nothing off
        """Add to ``total`` whatever :meth:`fold` put off."""

    @abstractmethod
    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row parameter gradients to ``total``."""

    @abstractmethod
    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the parameter gradients of rows ``start`` to ``stop``: (rows, *shape)."""

    def add_row_gradients(self, gradient: Tensor, start: int, stop: int, into: Tensor) -> None:
        """Add the parameter gradients of rows ``start`` to ``stop`` to ``into``."""
        into.add_(self.row_gradients(gradient, start, stop))

    @abstractmethod
    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few coordinates of the parameter.

        Args:
            index: (k,) positions in the flattened parameter.

        Returns:
            A function from the output gradient to the per-row derivatives, (rows, k).
        """

    def factors(self, index: Tensor) -> Factors | None:
        """Split the derivatives with respect to a few coordinates, if they are products.

        Args:
            index: (k,) positions in the flattened parameter.

        Returns:
            Their factors; None if they are sums of several products.
        """
        del index
        return None


class ReducedUse(Use):
    """A parameter whose per-row gradient is at most as large as the row's output.

    Biases and the scales of norms: their per-row gradients are formed for the whole batch.
    """

    @abstractmethod
    def reduce(self, gradient: Tensor) -> Tensor:
        """Return the per-row parameter gradients, (rows, *shape)."""

    def add_squares(self, gradient: Tensor, total: Tensor) -> None:
        """Add the sum over rows of the squared per-row parameter gradients to ``total``."""
        total.add_(self.reduce(gradient).square().sum(0))

    def row_gradients(self, gradient: Tensor, start: int, stop: int) -> Tensor:
        """Return the parameter gradients of rows ``start`` to ``stop``."""
        # A copy: the caller adds to it, and the gradient may be that of another operation as well.
        return self.reduce(gradient)[start:stop].clone()

    def columns(self, index: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the derivatives with respect to a few coordinates of the parameter."""
        return lambda gradient: self.reduce(gradient).flatten(1)[:, index]


class TrailingOffset(ReducedUse):
    """A bias added along the last axes: of a linear layer or a layer norm."""

    def __init__(self, slot: int, rows: int, shape: tuple[int, ...]) -> None:
        """Record the number of rows and the shape of the bias."""
        super().__init__(slot)
        self._split = (rows, -1, *shape)

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum over every axis between the row and the bias."""
        split = gradient.reshape(self._split)
        return split[:, 0] if split.shape[1] == 1 else split.sum(1)


class ChannelOffset(ReducedUse):
    """A bias added along axis 1: of a convolution, a batch norm or a group norm."""

    def reduce(self, gradient: Tensor) -> Tensor:
        """Sum over the spatial axes."""
        return gradient.flatten(2).sum(2) if gradient.dim() > 2 else gradient


def rows_at_once(rows: int, total: Tensor) -> int:
    """Return how many per-row gradients of the shape of ``total`` to form at once, at least one."""
    budget = CACHED_ELEMENTS if total.device.type == "cpu" else DEVICE_ELEMENTS
    return max(1, min(rows, budget // max(1, total.numel())))
