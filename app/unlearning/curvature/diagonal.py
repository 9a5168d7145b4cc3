"""A diagonal of a curvature matrix and how it came about."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from app.unlearning.curvature.evaluation import evaluating
from app.unlearning.curvature.squared_gradients import SquaredGradients
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.rows import Batch, Rows, stream

PIECE = 2**20
"""Scalars looked at together."""
Estimator = Literal["ggn", "sketched_ggn", "empirical_fisher", "hutchinson"]


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of the curvature of the mean loss, without weight decay.

    Attributes:
        values: Parameter name to a tensor of its shape: the mean over rows, each counted with its
            weight.
        estimator: Which curvature, and how: ``ggn`` and ``empirical_fisher`` are exact,
            ``sketched_ggn`` and ``hutchinson`` unbiased estimates of the diagonals of the
            generalised Gauss-Newton matrix and of the Hessian.
        rows: Rows read.
        draws: Random vectors per row (sketch) or in all (Hutchinson); 0 for exact diagonals.
        seed: Seed of the draws; 0 for exact diagonals.
        fallbacks: Why rows were handled one by one, a sentence each; empty if the rules held.
    """

    values: Mapping[str, Tensor]
    estimator: Estimator
    rows: int
    draws: int = 0
    seed: int = 0
    fallbacks: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Say whether the values are exact up to rounding."""
        return self.draws == 0


def mean_of_squares(
    model: nn.Module,
    rows: Rows | Iterable[Batch],
    seeds: Callable[[Batch, Tensor], Iterable[Tensor]],
    estimator: Estimator,
    *,
    batch_size: int,
    out: Mapping[str, Tensor] | None,
    draws: int = 0,
    seed: int = 0,
) -> Diagonal:
    """Average squared per-row gradients over a stream of rows.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        rows: Rows, or batches.
        seeds: From a batch and its outputs to what is back-propagated, for rows of weight one.
        estimator: What to call the result.
        batch_size: Rows handled at a time; the result does not depend on it beyond rounding.
        out: Where to accumulate, by parameter name; None allocates.
        draws: For the record.
        seed: For the record.

    Returns:
        The diagonal; its values are ``out`` if given.

    Raises:
        NotApplicable: There are no rows.
        NonFinite: A value is NaN or infinite.
    """
    squares = SquaredGradients(model, out)
    count, weight = 0, 0.0
    with evaluating(model):
        for batch in stream(rows, batch_size):
            squares.add(batch.inputs, partial(_weighted, batch, seeds))
            count, weight = count + len(batch), weight + batch.total_weight()
    if not weight > 0:
        raise NotApplicable("a curvature needs rows of positive weight")
    for name, total in squares.totals.items():
        if not _is_finite(total.div_(weight)):
            raise NonFinite(name)
    return Diagonal(squares.totals, estimator, count, draws, seed, squares.fallbacks)


def _is_finite(total: Tensor) -> bool:
    """Look for NaN and infinity piece by piece: ``isfinite`` makes copies of what it looks at."""
    return all(bool(piece.isfinite().all()) for piece in total.reshape(-1).split(PIECE))


def _weighted(
    batch: Batch, seeds: Callable[[Batch, Tensor], Iterable[Tensor]], outputs: Tensor
) -> Iterable[Tensor]:
    """Scale what is squared later by the square root of the row's weight."""
    if batch.weights is None:
        return seeds(batch, outputs)
    shape = (-1,) + (1,) * (outputs.dim() - 1)
    factor = batch.weights.sqrt().to(outputs.dtype).view(shape)
    return (seed * factor for seed in seeds(batch, outputs))
