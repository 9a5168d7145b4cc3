"""An audit: the diagonal of the true Hessian from random probes (Hutchinson 1990; Bekas 2007).

For v with independent random signs, E[v * (H v)] = diag(H). It needs no rule and no root, so it
shares no code with the other estimators, and it sees the negative curvature of smooth activations.
Its error is set by the off-diagonal entries of H and falls as one over the square root of the
number of probes: hundreds of probes for what the exact diagonal gives at once. Use it to check, not
to select.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from app.unlearning.curvature.diagonal import Diagonal
from app.unlearning.curvature.evaluation import evaluating, outputs_of
from app.unlearning.curvature.halving import Pieces, halve_until_it_fits
from app.unlearning.curvature.parameters import accumulators, trainable_parameters
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows


def hutchinson_diagonal(
    model: nn.Module,
    objective: Objective,
    rows: Rows | Iterable[Batch],
    *,
    draws: int = 100,
    seed: int = 0,
    batch_size: int = 256,
    out: Mapping[str, Tensor] | None = None,
) -> Diagonal:
    """Estimate the diagonal of the Hessian of the mean loss, without weight decay.

    All batches see the same probes, drawn anew from the seed, so memory holds one at a time and the
    estimate does not depend on the batch size. Entries may be negative.

    Args:
        model: The network; run in eval mode, and otherwise not touched.
        objective: Its loss.
        rows: Rows, or batches.
        draws: Probes, >= 1.
        seed: Of the probes.
        batch_size: Rows handled at a time; halved while they do not fit into memory.
        out: Where to accumulate, by parameter name; None allocates.

    Returns:
        The estimate, with estimator ``hutchinson``.

    Raises:
        ValueError: ``draws`` is not positive.
        NotApplicable: There are no rows.
        NonFinite: A value is NaN or infinite.
    """
    if draws < 1:
        raise ValueError("an estimate needs at least one probe")
    parameters = trainable_parameters(model)
    totals = accumulators(parameters, out)

    def add(pieces: Pieces) -> tuple[int, float, int]:
        for total in totals.values():
            total.zero_()
        count, weight = 0, 0.0
        for batch in pieces:
            losses = objective.losses(outputs_of(model, batch.inputs), batch.targets)
            loss = (losses if batch.weights is None else losses * batch.weights).sum()
            _add_probes(loss, tuple(parameters.values()), tuple(totals.values()), draws, seed)
            count, weight = count + len(batch), weight + batch.total_weight()
        return count, weight, pieces.longest

    # The fused attention kernels have no second derivative; the plain one has.
    with evaluating(model), sdpa_kernel(SDPBackend.MATH):
        count, weight, longest = halve_until_it_fits(rows, batch_size, add)
    if not weight > 0:
        raise NotApplicable("a curvature needs rows of positive weight")
    for name, total in totals.items():
        if not torch.isfinite(total.div_(weight * draws)).all():
            raise NonFinite(name)
    return Diagonal(totals, "hutchinson", count, draws, seed, batch_size=longest)


def _add_probes(
    loss: Tensor, parameters: tuple[Tensor, ...], totals: tuple[Tensor, ...], draws: int, seed: int
) -> None:
    if not loss.requires_grad:
        return
    gradients = torch.autograd.grad(
        loss, parameters, create_graph=True, allow_unused=True, materialize_grads=True
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        probes = [_signs(parameter, generator) for parameter in parameters]
        slope = sum((g * v).sum() for g, v in zip(gradients, probes, strict=True))
        if not isinstance(slope, Tensor) or not slope.requires_grad:
            return
        products = torch.autograd.grad(
            slope, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for total, probe, product in zip(totals, probes, products, strict=True):
            total.addcmul_(probe, product)


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, like.shape, generator=generator, dtype=torch.int8)
    return bits.mul_(2).sub_(1).to(like.device, like.dtype)
