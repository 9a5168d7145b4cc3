"""Per-row gradients without any rule: one row at a time through the whole network.

Exact for every network that treats rows independently, whatever its operations, and 4 to 30 times
slower than the rules. It serves the networks the rules cannot, and is what the rules are checked
against.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def row_gradients(
    model: nn.Module, parameters: Sequence[Tensor], inputs: Tensor, seeds: Sequence[Tensor]
) -> Iterator[tuple[Tensor | None, ...]]:
    """Yield, for every row and every seed, the gradients of <seed, outputs> of that row alone.

    Args:
        model: The network, in eval mode.
        parameters: What to differentiate with respect to.
        inputs: (b, ...).
        seeds: Tensors of the shape of the outputs, (b, ...).

    Yields:
        One tensor per parameter, None where it plays no part: row by row, and for each row seed
        by seed.
    """
    for row in range(len(inputs)):
        outputs = model(inputs[row : row + 1])
        for position, seed in enumerate(seeds):
            if not outputs.requires_grad:
                yield (None,) * len(parameters)
                continue
            yield torch.autograd.grad(
                outputs,
                parameters,
                seed[row : row + 1],
                retain_graph=position + 1 < len(seeds),
                allow_unused=True,
            )


def add_squared_row_gradients(
    model: nn.Module,
    parameters: Sequence[Tensor],
    inputs: Tensor,
    seeds: Sequence[Tensor],
    totals: Sequence[Tensor],
) -> None:
    """Add the squares of all per-row gradients to ``totals``; arguments as in row_gradients."""
    for gradients in row_gradients(model, parameters, inputs, seeds):
        for gradient, total in zip(gradients, totals, strict=True):
            if gradient is not None:
                total.addcmul_(gradient, gradient)
