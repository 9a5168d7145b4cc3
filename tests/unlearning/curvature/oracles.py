"""Curvature the slow, obvious way: dense matrices and one row at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from tests.unlearning.curvature.networks import Case


def logits(returned: Any) -> Tensor:
    """Return the outputs alone, whether or not they come in a record."""
    outputs: Tensor = getattr(returned, "logits", returned)
    return outputs


def _flat_function(case: Case) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    named = dict(case.model.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def outputs(flat: Tensor) -> Tensor:
        values = {
            name: part.view(p.shape)
            for (name, p), part in zip(named.items(), flat.split(sizes), strict=True)
        }
        return logits(functional_call(case.model, values, (case.rows.inputs,)))

    return outputs, torch.cat([p.detach().flatten() for p in named.values()])


def _weights(case: Case) -> Tensor:
    given = case.rows.weights
    return torch.ones(len(case.rows), dtype=torch.float64) if given is None else given


def dense_hessian(case: Case) -> Tensor:
    """Return the Hessian of the weighted mean loss, (d, d), by differentiating twice."""
    outputs, flat = _flat_function(case)
    weights = _weights(case)

    def loss(point: Tensor) -> Tensor:
        losses = case.objective.losses(outputs(point), case.rows.targets)
        return (losses * weights).sum() / weights.sum()

    return jacrev(jacrev(loss))(flat)


def dense_ggn(case: Case) -> Tensor:
    """Return the GGN of the weighted mean loss, (d, d), from dense Jacobians and Hessians."""
    outputs, flat = _flat_function(case)
    weights = _weights(case)
    # One output after the other: not every attention kernel can be mapped over.
    jacobian, at = jacrev(outputs, chunk_size=1)(flat), outputs(flat)
    total = torch.zeros(len(flat), len(flat), dtype=flat.dtype)
    for row in range(len(at)):
        target = case.rows.targets[row : row + 1]
        bend = jacrev(jacrev(lambda out, t=target: case.objective.losses(out[None], t)[0]))
        slope = jacobian[row].reshape(-1, len(flat))
        middle = bend(at[row]).reshape(len(slope), len(slope))
        total += weights[row] * slope.T @ middle @ slope
    return total / weights.sum()


def looped_fisher(case: Case) -> Tensor:
    """Return the mean of squared loss gradients, (d,), one row at a time."""
    parameters = list(case.model.parameters())
    weights = _weights(case)
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for row in range(len(case.rows)):
        one = case.rows.take(torch.tensor([row]))
        loss = case.objective.losses(logits(case.model(one.inputs)), one.targets).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        total += weights[row] * torch.cat([g.flatten() for g in gradients]).square()
    return total / weights.sum()


def flatten(values: Mapping[str, Tensor]) -> Tensor:
    """Return the values as one vector, in the order of the network's parameters."""
    return torch.cat([value.flatten() for value in values.values()])
