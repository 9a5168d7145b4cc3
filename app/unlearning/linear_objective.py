"""The edited objective of a model that is one linear layer: loss, gradient, and curvature.

The outputs are W x + b, so the gradient is R^T X for the output gradients R of the rows, and a
product of the Hessian with a direction V is (Q (X V^T))^T X for the Hessians Q of the losses in the
outputs: two passes over the matrix of inputs each, and no graph. Loss and gradient are taken in
float64. The curvature only steers the way there, so its passes are made in float32, which halves
what has to be read from memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.convexity import layers_before, only_layer
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem

_HELD_BYTES = 1 << 30
"""What single-precision inputs may hold; batches beyond it are read anew for every product."""

_TOGETHER = 1 << 20
"""Scalars of the inputs of a batch: few enough to be in the cache still for the second pass."""


class LinearObjective:
    """The mean loss over the edited rows plus the decay, and its derivatives.

    Parameters go by name. Those that a mapping lacks keep the network's values; derivatives are
    taken for those that are given.

    Attributes:
        gradient_evaluations: Rows passed over, for a gradient or for a product.
    """

    def __init__(self, problem: Problem) -> None:
        """Prepare to stream the edited rows.

        Args:
            problem: The problem; its network is read, never written.

        Raises:
            NotApplicable: The network is no single linear layer, or there are no rows.
        """
        layer = only_layer(problem.model)
        if layer is None or not len(problem.edited):
            raise NotApplicable("the model is no linear layer, or no edited rows are at hand")
        own = {id(p): name for name, p in problem.model.named_parameters()}
        self._weight_name = own[id(layer.weight)]
        self._bias_name = own.get(id(layer.bias))
        self._fixed = {n: p.detach().double() for n, p in problem.model.named_parameters()}
        self._problem, self._before = problem, layers_before(problem.model)
        self._objective, self._decay = problem.objective, problem.objective.weight_decay
        self._total = float(problem.edited_total)
        self._batch_size = max(1, _TOGETHER // layer.in_features)
        self._singles: list[Tensor] = []
        self._bends: list[_Bend] = []
        self.gradient_evaluations = 0

    def loss_and_gradient(self, theta: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """Return both at ``theta``; the curvature is that at ``theta`` from now on.

        Args:
            theta: Full float64 tensors.

        Returns:
            The loss and its gradient, one float64 tensor for each parameter of ``theta``.
        """
        values = {**self._fixed, **theta}
        weight = values[self._weight_name]
        sums = _Sums(weight)
        total, self._bends = 0.0, []
        for inputs, targets, weights in self._batches():
            outputs = inputs.double() @ weight.t()
            if self._bias_name is not None:
                outputs += values[self._bias_name]
            losses = self._objective.losses(outputs, targets)
            seeds = self._objective.output_gradient(outputs, targets)
            if weights is not None:
                losses, seeds = losses * weights, seeds * _along_rows(weights, seeds)
            total += float(losses.sum())
            sums.add(seeds, inputs.double())
            self._bends.append(_Bend.at(self._objective, outputs, targets, weights))
            self.gradient_evaluations += len(inputs)
        squares = sum(float(t.square().sum()) for t in values.values())
        loss = total / self._total + 0.5 * self._decay * squares
        return loss, self._with_decay(sums, theta)

    def product(self, direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the Hessian, at the point of the last gradient, by a direction.

        Args:
            direction: Full float64 tensors; parameters that are missing count as zero.

        Returns:
            The product, one float64 tensor for each parameter of ``direction``, good to the seven
            digits of float32.
        """
        weight = direction.get(self._weight_name, torch.zeros_like(self._fixed[self._weight_name]))
        bias = None if self._bias_name is None else direction.get(self._bias_name)
        single, sums = weight.float(), _Sums(weight)
        for inputs, bend in zip(self._in_single(), self._bends, strict=True):
            outputs = inputs @ single.t()
            if bias is not None:
                outputs += bias.float()
            sums.add(bend.product(self._objective, outputs), inputs)
            self.gradient_evaluations += len(inputs)
        return self._with_decay(sums, direction)

    def diagonal(self) -> dict[str, Tensor]:
        """Return the diagonal of the Hessian at the point of the last gradient, float64."""
        sums = _Sums(self._fixed[self._weight_name])
        for inputs, bend in zip(self._in_single(), self._bends, strict=True):
            sums.add(bend.diagonal(self._objective), inputs.square())
        return self._with_decay(sums, {n: torch.ones_like(t) for n, t in self._fixed.items()})

    def _with_decay(self, sums: "_Sums", values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = {self._weight_name: sums.slope}
        if self._bias_name is not None:
            named[self._bias_name] = sums.offset
        return {n: named[n] / self._total + self._decay * value for n, value in values.items()}

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what the layer is given, targets, and weights in float64."""
        problem = self._problem
        for rows, factor in ((problem.retained, problem.retained_weight), (problem.replacement, 1)):
            for batch in rows.batches(self._batch_size):
                weights = None if batch.weights is None else batch.weights.double() * factor
                if weights is None and factor != 1:
                    weights = batch.inputs.new_full((len(batch),), factor, dtype=torch.float64)
                yield self._given(batch.inputs), batch.targets, weights

    def _given(self, inputs: Tensor) -> Tensor:
        for layer in self._before:
            inputs = layer(inputs)
        return inputs

    def _in_single(self) -> Iterator[Tensor]:
        """Yield what the layer is given in float32, from memory as far as it reaches."""
        yield from self._singles
        kept = len(self._singles)
        if kept == len(self._bends):
            return
        held = sum(t.numel() * t.element_size() for t in self._singles)
        for position, (inputs, _, _) in enumerate(self._batches()):
            if position < kept:
                continue
            single = inputs.float()
            held += single.numel() * single.element_size()
            # Only an unbroken run of first batches is kept, so that their number says which.
            if position == len(self._singles) and held <= _HELD_BYTES:
                self._singles.append(single)
            yield single


class _Sums:
    """What adds up over rows to a gradient or a product."""

    def __init__(self, weight: Tensor) -> None:
        self.slope = torch.zeros_like(weight)
        self.offset = weight.new_zeros(len(weight))

    def add(self, seeds: Tensor, inputs: Tensor) -> None:
        flat = seeds.flatten(0, -2)
        self.slope += flat.t() @ inputs.flatten(0, -2)
        self.offset += flat.sum(0)


@dataclass(frozen=True)
class _Bend:
    """The Hessians of the losses of a batch in its outputs, at some outputs.

    Attributes:
        outputs: (b, ..., C), float32; the curvature is taken there.
        targets: Of the batch.
        factors: With one output the second derivative times the weight of the row; otherwise the
            weight, along the rows; None for ones.
    """

    outputs: Tensor
    targets: Tensor
    factors: Tensor | None

    @classmethod
    def at(
        cls, objective: Objective, outputs: Tensor, targets: Tensor, weights: Tensor | None
    ) -> "_Bend":
        factors = None if weights is None else _along_rows(weights, outputs)
        if outputs.shape[1:] == (1,):
            bends = objective.output_curvature_product(outputs, torch.ones_like(outputs), targets)
            factors = bends if factors is None else bends * factors
        return cls(outputs.float(), targets, None if factors is None else factors.float())

    def product(self, objective: Objective, direction: Tensor) -> Tensor:
        """Multiply by a direction, (b, ..., C)."""
        if self.outputs.shape[1:] != (1,):
            direction = objective.output_curvature_product(self.outputs, direction, self.targets)
        return direction if self.factors is None else direction * self.factors

    def diagonal(self, objective: Objective) -> Tensor:
        """Return the diagonals, (b, ..., C)."""
        found = torch.zeros_like(self.outputs)
        for column in range(self.outputs.shape[-1]):
            unit = torch.zeros_like(self.outputs)
            unit[..., column] = 1.0
            found[..., column] = self.product(objective, unit)[..., column]
        return found


def _along_rows(weights: Tensor, like: Tensor) -> Tensor:
    return weights.view(-1, *(1,) * (like.dim() - 1))
