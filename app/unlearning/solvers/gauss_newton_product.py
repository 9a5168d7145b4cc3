"""Products of the Gauss-Newton block of a selection with a vector, for large selections.

One product streams the rows once. J^T u is linear in u, so differentiating <J^T u, v> with respect
to u gives J v from reverse mode alone, for every operation that can be differentiated twice; the
output Hessian and one more backward pass complete J^T Q J v. Nothing of the size of the block is
ever stored. The graphs of J^T u do not depend on v; those that fit are kept, and a product then
takes two backward passes and no forward pass.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from app.unlearning.curvature.evaluation import evaluating, outputs_of
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows
from app.unlearning.selection.selection import Selection

_HELD_BYTES = 1 << 28
"""What the kept graphs may hold; batches beyond it are run anew for every product."""


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
        rows: Rows; weights are respected, of labels only which tokens count.
        selection: S.
        parameters: Values to use instead of the network's own, by name, of some or all parameters.
        batch_size: Rows handled at a time.

    Returns:
        A function from v (|S|,) to H_SS v (|S|,).

    Raises:
        NotApplicable: There are no rows. The function raises it for networks with an operation that
            can be differentiated only once.
    """
    touched = selection.touched()
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    values = {name: (parameters or {}).get(name, p).detach() for name, p in own.items()}
    weight = sum(batch.total_weight() for batch in rows.batches(batch_size))
    if not weight > 0:
        raise NotApplicable("a curvature needs rows of positive weight")
    kept: list[_Linearised] = []

    def linearised() -> Iterator[_Linearised]:
        yield from kept
        held = sum(batch.held_bytes for batch in kept)
        for position, batch in enumerate(rows.batches(batch_size)):
            if position < len(kept):
                continue
            fresh = _Linearised(model, objective, batch, values, touched.names)
            # Only an unbroken run of first batches is kept, so that their number says which.
            if position == len(kept) and held + fresh.held_bytes <= _HELD_BYTES:
                kept.append(fresh)
                held += fresh.held_bytes
            yield fresh

    def product(vector: Tensor) -> Tensor:
        tangents = touched.scatter(vector)
        total = torch.zeros_like(vector)
        # The fused attention kernels have no second derivative; the plain one has.
        with evaluating(model), sdpa_kernel(SDPBackend.MATH):
            for batch in linearised():
                total += touched.gather(batch.product(tangents))
        return total.div_(weight)

    return product


class _Linearised:
    """The network on one batch, ready for any number of products.

    Attributes:
        held_bytes: What its graph keeps alive, counting what is kept twice twice.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        batch: Batch,
        values: Mapping[str, Tensor],
        names: tuple[str, ...],
    ) -> None:
        """Run the network and pull a vector of unknowns back."""
        self._objective, self._batch, self._names = objective, batch, names
        self._leaves = [values[name].clone().requires_grad_() for name in names]
        replaced = {**values, **dict(zip(names, self._leaves, strict=True))}
        # The graph keeps this: were it a method, the graph would keep itself alive.
        count = _Count()
        with saved_tensors_hooks(count, lambda tensor: tensor):
            self._outputs = outputs_of(
                lambda inputs: functional_call(model, replaced, (inputs,)), batch.inputs
            )
            self._unknown = torch.zeros_like(self._outputs).requires_grad_()
            self._pulled = self._transposed(self._unknown, create_graph=True)
        self.held_bytes = count.bytes

    def product(self, tangents: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sum over rows of J^T Q J v, one tensor per selected parameter."""
        change = self._directional_derivative([tangents[name] for name in self._names])
        outputs, targets, weights = self._outputs, self._batch.targets, self._batch.weights
        bent = self._objective.output_curvature_product(outputs, change, targets)
        if weights is not None:
            bent = bent * weights.to(bent.dtype).view(-1, *(1,) * (bent.dim() - 1))
        return dict(zip(self._names, self._transposed(bent), strict=True))

    def _directional_derivative(self, tangents: list[Tensor]) -> Tensor:
        """Return J v, of the shape of the outputs.

        Raises:
            NotApplicable: An operation can be differentiated only once.
        """
        slopes = [(p * t).sum() for p, t in zip(self._pulled, tangents, strict=True)]
        slope = torch.stack(slopes).sum()
        if not slope.requires_grad:
            return torch.zeros_like(self._outputs)
        try:
            return torch.autograd.grad(
                slope, self._unknown, retain_graph=True, allow_unused=True, materialize_grads=True
            )[0]
        except NotImplementedError as error:
            raise NotApplicable(
                "an operation of the network cannot be differentiated twice"
            ) from error

    def _transposed(self, seed: Tensor, *, create_graph: bool = False) -> tuple[Tensor, ...]:
        """Return J^T u for u = ``seed``, one tensor per leaf."""
        if not self._outputs.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in self._leaves)
        found = torch.autograd.grad(
            self._outputs,
            self._leaves,
            seed,
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
        # Tables of embeddings may have sparse gradients, which know few operations.
        return tuple(part.to_dense() if part.is_sparse else part for part in found)


class _Count:
    """Adds up the bytes of what a graph saves."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.bytes += tensor.numel() * tensor.element_size()
        # An operation that saves its own output would otherwise keep itself alive.
        return tensor.detach()
