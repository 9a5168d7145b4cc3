"""The diagonal of the empirical Fisher matrix: the mean of squared per-row loss gradients.

It needs labels and collapses where the fit becomes perfect; it is not the Fisher matrix (Kunstner,
Balles and Hennig 2019). It is here because selective synaptic dampening and its relatives are
defined by it. The square of a *batch's* gradient, often computed in its place, depends on the
batch size and is something else.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from app.unlearning.curvature.diagonal import Diagonal, mean_of_squares
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows


def empirical_fisher_diagonal(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    *,
    batch_size: int = 256,
    out: Mapping[str, Tensor] | None = None,
) -> Diagonal:
    """Compute the diagonal of the empirical Fisher matrix exactly, without weight decay.

    The mean over rows of (gradient of the row's loss)^2, at about the cost of training on them.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches.
        batch_size: Rows handled at a time.
        out: Where to accumulate, by parameter name; None allocates.

    Returns:
        The diagonal, with estimator ``empirical_fisher``.
    """
    return mean_of_squares(
        model,
        rows,
        lambda batch, outputs: (objective.output_gradient(outputs, batch.targets),),
        "empirical_fisher",
        batch_size=batch_size,
        out=out,
    )
