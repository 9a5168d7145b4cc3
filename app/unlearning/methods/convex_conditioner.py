"""What conditions the steps to the optimum of a convex model: the curvature of a few rows.

Where rows are many times the scalars, some rows drawn at random are as good as all of them. Where
they are not, the rows that weigh most, and the diagonal for what is left of the others.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from app.unlearning.double_precision import Float64Rows, in_float64
from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem
from app.unlearning.row_curvature import row_lines, row_weights
from app.unlearning.sampling import uniform_sample
from app.unlearning.selection import Selection
from app.unlearning.solvers.drawn_lines import inclusion, preconditioner

# Up to this many parameters the Hessian may be formed (32 MB in float64).
DENSE_LIMIT = 2048
# Rows for each scalar from which uniformly drawn rows will do, and what they may cost in passes
# over all rows; a matrix product makes some 16 multiplications in the time of one loose one.
_SAMPLED, _WORTH = 10, 32
# Lines of the root of the curvature of the heaviest rows, and their scalars: 64 MiB in float32.
_LINES, _MOST_SCALARS = 384, 1 << 24


def conditioner(
    problem: Problem,
    objective: LinearObjective,
    theta: Mapping[str, Tensor],
    selection: Selection,
) -> tuple[Callable[[Tensor], Tensor], int]:
    """Prepare an approximate inverse of the Hessian on a selection.

    Args:
        problem: The problem.
        objective: Its objective, of which the last gradient was taken at ``theta``.
        theta: Full float64 tensors.
        selection: The scalars.

    Returns:
        It, from a vector (k,), float64, to one; and the rows passed over beside those that the
        objective counts.
    """
    count = selection.count
    rows = _SAMPLED * count
    generator = torch.Generator().manual_seed(problem.generator_seed)
    if rows * count <= _WORTH * len(problem.edited) and count <= DENSE_LIMIT:
        sample = uniform_sample(problem.edited, rows, generator)
        curvature = EditedCurvature(in_float64(problem), theta, selection, rows=Float64Rows(sample))
        factor, failure = torch.linalg.cholesky_ex(curvature.block())
        if not int(failure):
            return lambda v: torch.cholesky_solve(v[:, None], factor)[:, 0], len(sample)
    diagonal = selection.gather(objective.diagonal())
    diagonal.clamp_(min=torch.finfo(torch.float64).tiny)
    lines = _heavy_lines(objective, selection, diagonal, generator)
    return preconditioner(lines, diagonal, problem.objective.weight_decay), 0


def _heavy_lines(
    objective: LinearObjective, selection: Selection, diagonal: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw rows by their weight; (lines, k), float32, scaled so that their sum is unbiased."""
    most = min(_LINES, _MOST_SCALARS // len(diagonal)) // objective.lines_of_a_row
    weights = row_weights(objective, selection.scatter(1.0 / diagonal))
    chances = inclusion(weights, most)
    drawn = torch.rand(len(chances), generator=generator, dtype=torch.float64)
    rows = (drawn.to(chances.device) < chances).nonzero()[:, 0]
    if not len(rows):
        return diagonal.new_zeros(0, len(diagonal), dtype=torch.float32)
    lines = row_lines(objective, rows, selection)
    return (lines / chances[rows].sqrt().float()[:, None, None]).flatten(0, 1)
