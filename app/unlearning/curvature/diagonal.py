"""A diagonal of a curvature matrix and how it came about."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from app.unlearning.curvature.evaluation import evaluating
from app.unlearning.curvature.halving import Pieces, halve_until_it_fits
from app.unlearning.curvature.precision import Precision, products_in
from app.unlearning.curvature.squared_gradients import Fallback, SquaredGradients
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.rows import Batch, Rows

Estimator = Literal["ggn", "sketched_ggn", "monte_carlo_fisher", "empirical_fisher", "hutchinson"]
Seeds = Callable[[Batch, Tensor], Iterable[Tensor]]
"""From a batch and its outputs to what is back-propagated, for rows of weight one."""


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of the curvature of the mean loss, without weight decay.

    Attributes:
        values: Parameter name to a tensor of its shape: the mean over rows, each counted with its
            weight.
        estimator: Which curvature, and how: ``ggn`` and ``empirical_fisher`` are exact,
            ``sketched_ggn``, ``monte_carlo_fisher`` and ``hutchinson`` unbiased estimates of the
            diagonals of the generalised Gauss-Newton matrix (the first two) and of the Hessian.
        rows: Rows read.
        draws: Random vectors per row (sketch), labels per row (Fisher) or probes in all
            (Hutchinson); 0 for exact diagonals.
        seed: Seed of the draws; 0 for exact diagonals.
        fallbacks: Why the rules were given up, a sentence each; empty if they held.
        is_signed: The rules were given up for squares of signed batch gradients, which are
            estimates, and not for single rows, which are exact.
        batch_size: Rows of the longest batch: fewer than asked for if memory ran out.
    """

    values: Mapping[str, Tensor]
    estimator: Estimator
    rows: int
    draws: int = 0
    seed: int = 0
    fallbacks: tuple[str, ...] = ()
    is_signed: bool = False
    batch_size: int = 0

    @property
    def exact(self) -> bool:
        """Say whether the values are exact up to rounding."""
        return self.draws == 0 and not self.is_signed


def mean_of_squares(
    model: nn.Module,
    rows: Rows | Iterable[Batch],
    seeds: Callable[[], Seeds],
    estimator: Estimator,
    *,
    batch_size: int,
    out: Mapping[str, Tensor] | None,
    fallback: Fallback,
    precision: Precision | None,
) -> Diagonal:
    """Average squared per-row gradients over a stream of rows.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        rows: Rows, or batches.
        seeds: Starts a stream of seeds; called anew if the rows have to be begun anew.
        estimator: What to call the result.
        batch_size: Rows handled at a time; the result does not depend on it beyond rounding.
        out: Where to accumulate, by parameter name; None allocates.
        fallback: What to do where there is no rule.
        precision: Of products; None leaves it to the process.

    Returns:
        The diagonal, as if it were exact; its values are ``out`` if given.

    Raises:
        NotApplicable: There are no rows.
        NonFinite: A value is NaN or infinite.
    """
    squares = SquaredGradients(model, out, fallback)

    def add(pieces: Pieces) -> tuple[int, float, int]:
        squares.clear()
        count, weight, of_batch = 0, 0.0, seeds()
        for batch in pieces:
            squares.add(batch.inputs, partial(_weighted, batch, of_batch))
            count, weight = count + len(batch), weight + batch.total_weight()
        return count, weight, pieces.longest

    with evaluating(model), products_in(precision):
        count, weight, longest = halve_until_it_fits(rows, batch_size, add)
        if squares.is_mixed and not isinstance(rows, Iterator):
            count, weight, longest = halve_until_it_fits(rows, batch_size, add)
    if not weight > 0:
        raise NotApplicable("a curvature needs rows of positive weight")
    for name, total in squares.totals.items():
        if not _is_finite(total.div_(weight)):
            raise NonFinite(name)
    return Diagonal(
        squares.totals,
        estimator,
        count,
        fallbacks=squares.fallbacks,
        is_signed=squares.is_signed,
        batch_size=longest,
    )


def _is_finite(total: Tensor) -> bool:
    """Look for NaN and infinity among squares by their largest, which takes no copies."""
    return not total.numel() or bool(total.max().isfinite())


def _weighted(batch: Batch, seeds: Seeds, outputs: Tensor) -> Iterable[Tensor]:
    """Scale what is squared later by the square root of the row's weight."""
    if batch.weights is None:
        return seeds(batch, outputs)
    shape = (-1,) + (1,) * (outputs.dim() - 1)
    factor = batch.weights.sqrt().to(outputs.dtype).view(shape)
    return (seed * factor for seed in seeds(batch, outputs))
