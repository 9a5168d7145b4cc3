"""The diagonal of the generalised Gauss-Newton matrix (GGN), exactly or from random signs.

With J_n the Jacobian of row n's outputs with respect to the parameters and Q_n the Hessian of its
loss with respect to the outputs, the GGN of the mean loss is (1 / N) sum_n J_n^T Q_n J_n
(Schraudolph 2002; Martens 2020). For a root Q_n = sum_c r_c r_c^T its diagonal is the mean of
sum_c (J_n^T r_c)^2: squared per-row gradients, one backward pass for each column of the root.

On networks that are piecewise linear in every single layer (ReLU, max-pooling, batch norm in eval
mode, residual sums) this *is* the diagonal of the Hessian, wherever the Hessian exists.
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


def ggn_diagonal(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    *,
    batch_size: int = 256,
    out: Mapping[str, Tensor] | None = None,
    fallback: Fallback = "rows",
    precision: Precision | None = None,
) -> Diagonal:
    """Compute the diagonal of the GGN of the mean loss exactly, without weight decay.

    Costs one forward pass and C - 1 backward passes for C classes, of dense networks all at once;
    dense layers multiply once for all of them. A sequence takes T times as many passes.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches; of labels only which tokens of a sequence count is used.
        batch_size: Rows handled at a time; halved while they do not fit into memory.
        out: Where to accumulate, by parameter name; None allocates.
        fallback: What to do where there is no rule, see ``SquaredGradients``.
        precision: Of float32 products; None leaves it to the process.

    Returns:
        The diagonal, with estimator ``ggn``.
    """
    return mean_of_squares(
        model,
        rows,
        lambda: lambda batch, outputs: objective.root_columns(outputs, batch.targets),
        "ggn",
        batch_size=batch_size,
        out=out,
        fallback=fallback,
        precision=precision,
    )


def sketched_ggn_diagonal(
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
    """Estimate the diagonal of the GGN of the mean loss, without weight decay: R(draws).

    Every row is back-propagated with ``draws`` sums of root columns under independent random
    signs. The estimate is unbiased; its error falls with rows and draws. Signs are drawn row by
    row on the CPU, so that neither the batch size nor the device changes them.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches; of labels only which tokens of a sequence count is used.
        draws: Backward passes per batch, >= 1.
        seed: Of the signs.
        batch_size: Rows handled at a time; halved while they do not fit into memory.
        out: Where to accumulate, by parameter name; None allocates.
        fallback: What to do where there is no rule, see ``SquaredGradients``.
        precision: Of float32 products; None leaves it to the process.

    Returns:
        The estimate, with estimator ``sketched_ggn``.

    Raises:
        ValueError: ``draws`` is not positive.
    """
    if draws < 1:
        raise ValueError("a sketch needs at least one draw")
    found = mean_of_squares(
        model,
        rows,
        lambda: Sketch(objective, draws, seed),
        "sketched_ggn",
        batch_size=batch_size,
        out=out,
        fallback=fallback,
        precision=precision,
    )
    return replace(found, draws=draws, seed=seed)


class Sketch:
    """Random combinations of root columns for a stream of rows, in the order of the rows."""

    def __init__(self, objective: Objective, draws: int, seed: int) -> None:
        """Start the stream of signs at its beginning."""
        self._objective, self._number = objective, draws
        self._draws = Draws(seed)

    def __call__(self, batch: Batch, outputs: Tensor) -> Iterator[Tensor]:
        """Yield ``draws`` combinations for the next rows, each of the shape of ``outputs``.

        Args:
            batch: The rows; of their labels, which tokens of a sequence count.
            outputs: (b, ...).

        Yields:
            Seeds whose squared back-propagations add up to one estimate.
        """
        shape = (self._number, *outputs.shape[1:])
        signs = self._draws.signs(len(batch), shape, outputs)
        for draw in range(self._number):
            combined = self._objective.root_draw(outputs, signs[:, draw], batch.targets)
            yield combined if self._number == 1 else combined.div_(self._number**0.5)
