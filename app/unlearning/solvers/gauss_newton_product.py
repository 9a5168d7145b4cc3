"""Products of the Gauss-Newton block of a selection with a vector, for large selections.

One product streams the rows once. J^T u is linear in u, so differentiating <J^T u, v> with respect
to u gives J v from reverse mode alone, for every operation that can be differentiated twice; the
output Hessian and one more backward pass complete J^T Q J v. Nothing of the size of the block is
ever stored.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from app.unlearning.curvature.evaluation import evaluating
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows
from app.unlearning.selection.selection import Selection


def ggn_vector_product(
    model: nn.Module,
    objective: Objective,
    rows: Rows,
    selection: Selection,
    *,
    parameters: Mapping[str, Tensor] | None = None,
    batch_size: int = 256,
) -> Callable[[Tensor], Tensor]:
    """Prepare products with H_SS: the block of the GGN of the mean loss, without weight decay.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows; weights are respected, labels are not used.
        selection: S.
        parameters: Values to use instead of the network's own, by name, of some or all parameters.
        batch_size: Rows handled at a time.

    Returns:
        A function from v (|S|,) to H_SS v (|S|,).

    Raises:
        NotApplicable: There are no rows.
    """
    touched = selection.touched()
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    values = {name: (parameters or {}).get(name, p).detach() for name, p in own.items()}
    weight = sum(batch.total_weight() for batch in rows.batches(batch_size))
    if not weight > 0:
        raise NotApplicable("a curvature needs rows of positive weight")

    def product(vector: Tensor) -> Tensor:
        tangents = touched.scatter(vector)
        total = torch.zeros_like(vector)
        # The fused attention kernels have no second derivative; the plain one has.
        with evaluating(model), sdpa_kernel(SDPBackend.MATH):
            for batch in rows.batches(batch_size):
                total += touched.gather(_batch_product(model, objective, batch, values, tangents))
        return total.div_(weight)

    return product


def _batch_product(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    values: Mapping[str, Tensor],
    tangents: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the sum over rows of J^T Q J v, one tensor per selected parameter."""
    leaves = [values[name].clone().requires_grad_() for name in tangents]
    replaced = {**values, **dict(zip(tangents, leaves, strict=True))}
    outputs = functional_call(model, replaced, (batch.inputs,))
    change = _directional_derivative(outputs, leaves, list(tangents.values()))
    bent = objective.output_curvature_product(outputs, change, batch.targets)
    if batch.weights is not None:
        bent = bent * batch.weights.to(bent.dtype).view(-1, *(1,) * (bent.dim() - 1))
    parts = _transposed(outputs, leaves, bent)
    return dict(zip(tangents, parts, strict=True))


def _directional_derivative(
    outputs: Tensor, leaves: list[Tensor], tangents: list[Tensor]
) -> Tensor:
    """Return J v, of the shape of ``outputs``."""
    dummy = torch.zeros_like(outputs).requires_grad_()
    pulled = _transposed(outputs, leaves, dummy, create_graph=True)
    slope = torch.stack([(p * t).sum() for p, t in zip(pulled, tangents, strict=True)]).sum()
    if not slope.requires_grad:
        return torch.zeros_like(outputs)
    return torch.autograd.grad(slope, dummy, allow_unused=True, materialize_grads=True)[0]


def _transposed(
    outputs: Tensor, leaves: list[Tensor], seed: Tensor, *, create_graph: bool = False
) -> tuple[Tensor, ...]:
    """Return J^T u for u = ``seed``, one tensor per leaf."""
    return torch.autograd.grad(
        outputs,
        leaves,
        seed,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
