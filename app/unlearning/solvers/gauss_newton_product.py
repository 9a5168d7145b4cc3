"""Products of the Gauss-Newton block of a selection with a vector, for large selections.

One product streams the rows once: a forward pass that carries the directional derivative J v along
(forward-mode differentiation), the output Hessian, and a backward pass for J^T. Nothing of the size
of the block is ever stored.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
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
        # The fused attention kernels have no forward-mode derivative; the plain one has.
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
    leaves = {name: values[name].clone().requires_grad_() for name in tangents}
    with forward_ad.dual_level():
        dual = {name: forward_ad.make_dual(leaves[name], tangents[name]) for name in tangents}
        outputs = functional_call(model, {**values, **dual}, (batch.inputs,))
        primal, change = forward_ad.unpack_dual(outputs)
    if change is None:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    bent = objective.output_curvature_product(primal, change.detach())
    if batch.weights is not None:
        bent = bent * batch.weights.to(bent.dtype).view(-1, *(1,) * (bent.dim() - 1))
    parts = torch.autograd.grad(
        primal, list(leaves.values()), bent, allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, parts, strict=True))
