"""The edited objective of a model that is one linear layer: loss, gradient, and curvature.

The outputs are W x + b, so the gradient is R^T X for the output gradients R of the rows, and a
product of the Hessian with a direction V is (Q (X V^T))^T X for the Hessians Q of the losses in the
outputs: two passes over the matrix of inputs each, and no graph. Loss and gradient are taken in
float64. The curvature only steers the way there, so its passes are made in float32, which halves
what has to be read from memory.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from app.unlearning.convexity import layers_before, only_layer
from app.unlearning.errors import NotApplicable
from app.unlearning.output_points import Line, Point
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
        self._points: list[Point] = []
        self.gradient_evaluations = 0

    def loss_and_gradient(
        self, theta: Mapping[str, Tensor], outputs: Sequence[Tensor] | None = None
    ) -> tuple[float, dict[str, Tensor]]:
        """Return both at ``theta``; the curvature is that at ``theta`` from now on.

        Args:
            theta: Full float64 tensors.
            outputs: What the layer returns there for each batch, if that is known.

        Returns:
            The loss and its gradient, one float64 tensor for each parameter of ``theta``.
        """
        values = {**self._fixed, **theta}
        sums, total, points = _Sums(values[self._weight_name]), 0.0, []
        for position, (inputs, targets, weights) in enumerate(self._batches()):
            found = self._apply(inputs, values) if outputs is None else outputs[position]
            point = Point(self._objective, found, targets, weights)
            total += point.loss()
            sums.add(point.slope(), inputs.double())
            points.append(point)
            self.gradient_evaluations += len(inputs)
        self._points = points
        squares = sum(float(t.square().sum()) for t in values.values())
        loss = total / self._total + 0.5 * self._decay * squares
        return loss, self._with_decay(sums, theta)

    def line(self, theta: Mapping[str, Tensor], direction: Mapping[str, Tensor]) -> Line:
        """Look along a direction from the point of the last gradient.

        Args:
            theta: That point.
            direction: Full float64 tensors; parameters that are missing do not move.

        Returns:
            The objective there.
        """
        still = {name: torch.zeros_like(t) for name, t in self._fixed.items()}
        changes = [self._apply(inputs, {**still, **direction}) for inputs, _, _ in self._batches()]
        values = {**self._fixed, **theta}
        lean = sum(float((values[name] * d).sum()) for name, d in direction.items())
        square = sum(float(d.square().sum()) for d in direction.values())
        return Line(self._points, changes, self._total, (self._decay * lean, self._decay * square))

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
        for inputs, point in zip(self._in_single(), self._points, strict=True):
            outputs = inputs @ single.t()
            if bias is not None:
                outputs += bias.float()
            sums.add(point.bend(outputs), inputs)
            self.gradient_evaluations += len(inputs)
        return self._with_decay(sums, direction)

    def diagonal(self) -> dict[str, Tensor]:
        """Return the diagonal of the Hessian at the point of the last gradient, float64."""
        sums = _Sums(self._fixed[self._weight_name])
        for inputs, point in zip(self._in_single(), self._points, strict=True):
            sums.add(point.diagonal(), inputs.square())
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

    def _apply(self, inputs: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        outputs = inputs.double() @ values[self._weight_name].t()
        return outputs if self._bias_name is None else outputs + values[self._bias_name]

    def _given(self, inputs: Tensor) -> Tensor:
        for layer in self._before:
            inputs = layer(inputs)
        return inputs

    def _in_single(self) -> Iterator[Tensor]:
        """Yield what the layer is given in float32, from memory as far as it reaches."""
        yield from self._singles
        kept = len(self._singles)
        if kept == len(self._points):
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
