"""Diagonals of two Fisher matrices: the mean of squared per-row gradients of the loss.

The *empirical* Fisher matrix takes the rows' own labels. It collapses where the fit becomes
perfect, and it is not the Fisher matrix (Kunstner, Balles and Hennig 2019). It is here because
selective synaptic dampening and its relatives are defined by it. The square of a *batch's*
gradient, often computed in its place, depends on the batch size and is something else.

The Fisher matrix itself takes labels drawn from the model. For the losses here it equals the GGN,
and *one drawn label per row* is an unbiased estimate of it that needs no root. Random signs on a
root (``sketched_ggn_diagonal``) cost the same and vary far less, because near an optimum nearly
all drawn labels are the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor, nn

from app.unlearning.curvature.diagonal import Diagonal, mean_of_squares
from app.unlearning.curvature.draws import Draws
from app.unlearning.curvature.precision import Precision
from app.unlearning.curvature.squared_gradients import Fallback
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows


def empirical_fisher_diagonal(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    *,
    batch_size: int = 256,
    out: Mapping[str, Tensor] | None = None,
    fallback: Fallback = "rows",
    precision: Precision | None = None,
) -> Diagonal:
    """Compute the diagonal of the empirical Fisher matrix exactly, without weight decay.

    The mean over rows of (gradient of the row's loss)^2, at about the cost of training on them.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches.
        batch_size: Rows handled at a time; halved while they do not fit into memory.
        out: Where to accumulate, by parameter name; None allocates.
        fallback: What to do where there is no rule, see ``SquaredGradients``.
        precision: Of float32 products; None leaves it to the process.

    Returns:
        The diagonal, with estimator ``empirical_fisher``.
    """

    def seeds(batch: Batch, outputs: Tensor) -> Iterable[Tensor]:
        return (objective.output_gradient(outputs, batch.targets),)

    return mean_of_squares(
        model,
        rows,
        lambda: seeds,
        "empirical_fisher",
        batch_size=batch_size,
        out=out,
        fallback=fallback,
        precision=precision,
    )


def monte_carlo_fisher_diagonal(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    *,
    draws: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    out: Mapping[str, Tensor] | None = None,
    fallback: Fallback = "rows",
    precision: Precision | None = None,
) -> Diagonal:
    """Estimate the diagonal of the Fisher matrix from drawn labels, without weight decay.

    Every row is back-propagated once for each of ``draws`` labels drawn from the model's own
    outputs. The estimate is unbiased for the diagonal of the GGN of the mean loss.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss, and with it what the outputs are a distribution of.
        rows: Rows, or batches; of labels only which tokens of a sequence count is used.
        draws: Labels drawn per row, >= 1.
        seed: Of the labels.
        batch_size: Rows handled at a time; halved while they do not fit into memory.
        out: Where to accumulate, by parameter name; None allocates.
        fallback: What to do where there is no rule, see ``SquaredGradients``.
        precision: Of float32 products; None leaves it to the process.

    Returns:
        The estimate, with estimator ``monte_carlo_fisher``.

    Raises:
        ValueError: ``draws`` is not positive.
    """
    if draws < 1:
        raise ValueError("an estimate needs at least one draw")
    found = mean_of_squares(
        model,
        rows,
        lambda: DrawnLabels(objective, draws, seed),
        "monte_carlo_fisher",
        batch_size=batch_size,
        out=out,
        fallback=fallback,
        precision=precision,
    )
    return replace(found, draws=draws, seed=seed)


class DrawnLabels:
    """Gradients for labels drawn from the model, for a stream of rows in their order."""

    def __init__(self, objective: Objective, draws: int, seed: int) -> None:
        """Start the stream of labels at its beginning."""
        self._objective, self._number = objective, draws
        self._draws = Draws(seed)

    def __call__(self, batch: Batch, outputs: Tensor) -> Iterator[Tensor]:
        """Yield ``draws`` gradients for the next rows, each of the shape of ``outputs``.

        Args:
            batch: The rows; of their labels, which tokens of a sequence count.
            outputs: (b, ...).

        Yields:
            Seeds whose squared back-propagations add up to one estimate.
        """
        shape = (self._number, *self._objective.noise_shape(outputs)[1:])
        noise = self._draws.uniform(len(batch), shape, outputs)
        for draw in range(self._number):
            gradient = self._objective.drawn_gradient(outputs, noise[:, draw], batch.targets)
            yield gradient if self._number == 1 else gradient.div_(self._number**0.5)
