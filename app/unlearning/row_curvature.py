"""What single rows add to the curvature of one linear layer: how much, and as what lines.

A row adds x x^T (Kronecker) Q for its inputs x and the Hessian Q of its loss in the outputs. Each
column r of a root of Q gives a line, the flattened r x^T (and r itself for a bias); the Hessian,
without the decay, is the sum over all lines of their outer products.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.selection import Selection


def row_weights(objective: LinearObjective, inverse: Mapping[str, Tensor]) -> Tensor:
    """Weigh the rows in the curvature at the point of the last gradient.

    Args:
        objective: Of which a gradient has been taken.
        inverse: What each scalar's curvature is multiplied by, >= 0, full float64 tensors;
            parameters that are missing count as zero.

    Returns:
        (rows,), float64: the trace of each row's part of the mean objective's Hessian times
        ``inverse``, as a diagonal matrix.
    """
    weight, bias = inverse.get(objective.weight_name), inverse.get(objective.bias_name or "")
    found = []
    for inputs, point in objective.curved():
        spread = point.diagonal()
        weights = inputs.new_zeros(len(inputs))
        if weight is not None:
            weights += (inputs.square() @ weight.float().t() * spread).flatten(1).sum(1)
        if bias is not None:
            weights += (spread * bias.float()).flatten(1).sum(1)
        found.append(weights)
        objective.gradient_evaluations += len(inputs)
    return torch.cat(found).double() / objective.total


def row_lines(objective: LinearObjective, rows: Tensor, selection: Selection) -> Tensor:
    """Return the lines of some rows at the point of the last gradient.

    Args:
        objective: Of which a gradient has been taken.
        rows: Their positions, ascending.
        selection: The scalars wanted.

    Returns:
        (rows, columns of the root of an output Hessian, scalars), float32; those of all rows add
        up to the mean objective's Hessian without the decay.
    """
    found, start = [], 0
    for inputs, point in objective.curved():
        own = rows[(rows >= start) & (rows < start + len(inputs))] - start
        start += len(inputs)
        if len(own):
            found.append(_lines(objective, inputs[own], point.roots(own).float(), selection))
    return torch.cat(found) / math.sqrt(objective.total)


def _lines(
    objective: LinearObjective, inputs: Tensor, roots: Tensor, selection: Selection
) -> Tensor:
    """Multiply inputs and roots of the same rows, and keep the selected scalars."""
    # The positions of a sequence, if there are any, in one dimension.
    given = inputs.view(len(inputs), -1, inputs.shape[-1])
    seeds = roots.view(*roots.shape[:2], given.shape[1], -1)
    parts = []
    for name, mask in selection.touched().masks.items():
        if name == objective.weight_name:
            found = torch.einsum("mrtc,mtd->mrcd", seeds, given).flatten(2)
        else:
            found = seeds.sum(2)
        parts.append(found if bool(mask.all()) else found[..., mask.flatten()])
    return torch.cat(parts, -1)
