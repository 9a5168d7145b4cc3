"""Recompute the running statistics of batch normalisation.

Running means and variances are no parameters, so no gradient step removes what the forgotten rows
left in them; they are computed again on rows that may be used.
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from app.unlearning.rows import Rows
from app.unlearning.training import shuffled

_BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class _Moments:
    """Sums over everything that entered one layer, in float64."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, inputs: Tensor) -> None:
        """Merge a batch's moments (Chan, Golub and LeVeque 1983)."""
        values = inputs.detach().transpose(0, 1).flatten(1).double()
        count, mean = values.shape[1], values.mean(1)
        apart = mean - self.mean.to(mean.device)
        total = self.count + count
        self.squares = (
            self.squares.to(mean.device)
            + (values - mean[:, None]).square().sum(1)
            + apart.square() * (self.count * count / total)
        )
        self.mean = self.mean.to(mean.device) + apart * (count / total)
        self.count = total


def recompute_statistics(
    model: nn.Module, rows: Rows, *, batch_size: int = 256, seed: int = 0
) -> dict[str, Tensor]:
    """Compute the running statistics that the network has on ``rows``.

    One pass in random order, each layer normalised by the statistics of its batch as in training,
    all else (dropout) in eval mode. Mean and unbiased variance are pooled over all batches, not
    averaged batch by batch. Row weights play no part.

    Args:
        model: The network; not modified.
        rows: At least one row; retained and corrected ones.
        batch_size: Rows of a forward pass; > 1.
        seed: Seed of the order.

    Returns:
        New tensors for the buffers ``running_mean`` and ``running_var`` of each layer that keeps
        them, in the buffers' dtypes; empty for a network without batch normalisation.
    """
    working = copy.deepcopy(model).eval()
    layers = {
        name: module
        for name, module in working.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    if not layers or not len(rows):
        return {}
    moments = {name: _Moments() for name in layers}
    for name, layer in layers.items():
        layer.train()
        layer.register_forward_pre_hook(lambda _, inputs, kept=moments[name]: kept.add(inputs[0]))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for positions in shuffled(len(rows), batch_size, generator):
            working(rows.take(positions).inputs)
    result = {}
    old = dict(model.named_buffers())
    for name, kept in moments.items():
        variance = kept.squares / max(kept.count - 1, 1)
        for buffer, value in (("running_mean", kept.mean), ("running_var", variance)):
            full = f"{name}.{buffer}" if name else buffer
            result[full] = value.to(old[full].dtype)
    return result
