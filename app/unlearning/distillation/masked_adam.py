"""Adam on a few scalars of a network: state exists for these alone, and only they are written."""

import torch
from torch import Tensor, nn

from app.unlearning.selection import Selection

_BETAS = (0.9, 0.99)
_EPSILON = 1e-8


class MaskedAdam:
    """Adam (Kingma and Ba 2015) whose state and writes are confined to a selection.

    Attributes:
        theta: The selected tensors, leaves that require gradients.
    """

    def __init__(self, head: nn.Module, selection: Selection, learning_rate: float) -> None:
        """Begin at a head as it is.

        Args:
            head: Not modified.
            selection: What may change, by the head's names; not empty.
            learning_rate: Step size.
        """
        own = dict(head.named_parameters())
        selection = selection.touched()
        self.theta = {n: own[n].detach().clone().requires_grad_() for n in selection.names}
        self._positions = [m.reshape(-1).nonzero()[:, 0] for m in selection.masks.values()]
        self._sizes = [len(p) for p in self._positions]
        some = next(iter(self.theta.values()))
        self._mean, self._square, self._total = some.new_zeros(3, sum(self._sizes)).detach()
        self._learning_rate, self._steps, self._summed = learning_rate, 0, 0

    def step(self, loss: Tensor, factor: float) -> None:
        """Make one step on ``loss``, its size multiplied by ``factor``."""
        self._steps += 1
        parts = torch.autograd.grad(
            loss, list(self.theta.values()), allow_unused=True, materialize_grads=True
        )
        pairs = zip(parts, self._positions, strict=True)
        gradient = torch.cat([part.reshape(-1)[positions] for part, positions in pairs])
        first, second = _BETAS
        self._mean.mul_(first).add_(gradient, alpha=1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = (self._square / (1 - second**self._steps)).sqrt_().add_(_EPSILON)
        rate = -factor * self._learning_rate / (1 - first**self._steps)
        with torch.no_grad():
            moves = (rate * self._mean / scale).split(self._sizes)
            for tensor, positions, move in zip(
                self.theta.values(), self._positions, moves, strict=True
            ):
                tensor.view(-1).index_add_(0, positions, move)
            self._total += self._selected()
            self._summed += 1

    def average(self) -> dict[str, Tensor]:
        """Full tensors with the mean of the selected scalars since the last call.

        There has to be at least one step in between.
        """
        parts = (self._total / self._summed).split(self._sizes)
        self._total.zero_()
        self._summed = 0
        found = {}
        for (name, tensor), positions, part in zip(
            self.theta.items(), self._positions, parts, strict=True
        ):
            full = tensor.detach().clone()
            full.view(-1).index_copy_(0, positions, part)
            found[name] = full
        return found

    def _selected(self) -> Tensor:
        pairs = zip(self.theta.values(), self._positions, strict=True)
        return torch.cat([tensor.view(-1)[positions] for tensor, positions in pairs])
