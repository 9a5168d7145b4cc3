"""Per-row gradients without any rule: one row at a time through the whole network.

Exact for every network that treats rows independently, whatever its operations, and 4 to 30 times
slower than the rules. It serves the networks the rules cannot, and is what the rules are checked
against.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.errors import NotApplicable


def row_gradients(
    run: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    inputs: Tensor,
    seeds: Sequence[Tensor],
) -> Iterator[tuple[Tensor | None, ...]]:
    """Yield, for every row and every seed, the gradients of <seed, outputs> of that row alone.

    Args:
        run: The network, in eval mode.
        parameters: What to differentiate with respect to.
        inputs: (b, ...).
        seeds: Tensors of the shape of the outputs, (b, ...).

    Yields:
        One tensor per parameter, None where it plays no part: row by row, and for each row seed
        by seed.
    """
    for row in range(len(inputs)):
        outputs = run(inputs[row : row + 1])
        for position, seed in enumerate(seeds):
            if not outputs.requires_grad:
                yield (None,) * len(parameters)
                continue
            found: Sequence[Tensor | None] = torch.autograd.grad(
                outputs,
                parameters,
                seed[row : row + 1],
                retain_graph=position + 1 < len(seeds),
                allow_unused=True,
            )
            # Tables of embeddings may have sparse gradients, which know few operations.
            yield tuple(g.to_dense() if g is not None and g.is_sparse else g for g in found)
            del found


def add_squared_row_gradients(
    run: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    inputs: Tensor,
    seeds: Sequence[Tensor],
    totals: Sequence[Tensor],
) -> None:
    """Add the squares of all per-row gradients to ``totals``.

    The other arguments are those of row_gradients.
    """
    for gradients in row_gradients(run, parameters, inputs, seeds):
        for position, total in enumerate(totals):
            gradient = gradients[position]
            if gradient is not None:
                total.addcmul_(gradient, gradient)
        # The next row's gradients are made while this frame is still here.
        del gradients, gradient


def require_independent_rows(run: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
    """Compare the outputs of a batch with those of its rows alone.

    Args:
        run: The network, in eval mode.
        inputs: (b, ...).

    Raises:
        NotApplicable: They differ, so that a gradient of a single row does not exist.
    """
    with torch.no_grad():
        together = run(inputs)
        alone = torch.cat([run(inputs[row : row + 1]) for row in range(len(inputs))])
    if not bool(torch.isfinite(together).all()):
        return  # What comes of them is refused for that.
    scale = float(together.abs().max()) if together.numel() else 0.0
    if alone.shape != together.shape or not agree(alone, together, scale):
        raise NotApplicable(
            "the outputs of a row depend on the other rows of its batch, or on chance"
        )


def random_seed(run: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return a fixed random tensor of the shape of the outputs, for comparing two ways."""
    with torch.no_grad():
        outputs = run(inputs)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs.shape, generator=generator).to(outputs)


@dataclass(frozen=True)
class Difference:
    """How far two results of the same computation are apart.

    Attributes:
        largest: Largest absolute entry of one of them.
        apart: Largest absolute difference of two entries.
        precision: Of the numbers they consist of.
    """

    largest: float
    apart: float
    precision: float

    def is_rounding(self, scale: float) -> bool:
        """Say whether they differ by rounding only.

        A wrong attribution of rows is wrong by about 100 %, so the bound can be generous. What is
        nothing but rounding noise, such as the gradient of a bias without effect, is compared on
        the scale of the whole network.

        Args:
            scale: The largest entry anywhere in the network.

        Returns:
            Whether they agree; what is not finite agrees with nothing.
        """
        relative = min(0.1, 10 * math.sqrt(self.precision))
        return self.apart <= relative * self.largest + self.precision * scale


def agree(found: Tensor, expected: Tensor, scale: float) -> bool:
    """Say whether two results of the same computation differ by rounding only.

    Args:
        found: One result.
        expected: The other.
        scale: The largest entry anywhere in the network.

    Returns:
        Whether they agree.
    """
    if not found.numel():
        return True
    apart = float((found - expected).abs().max())
    precision = torch.finfo(found.dtype).eps
    return Difference(float(expected.abs().max()), apart, precision).is_rounding(scale)
