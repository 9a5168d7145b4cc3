"""The edited objective of a model that is one linear layer: loss, gradient, and curvature.

The outputs are W x + b, so the gradient is R^T X for the output gradients R of the rows: two passes
over the matrix of inputs, and no graph. A step changes the outputs in proportion, so that looking
along it and the gradient at its end take no more than that either. Loss and gradient are taken in
float64. The curvature only steers the way there, so its passes are made in float32, which halves
what has to be read from memory; gradients far from the optimum can be had that way too.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from app.unlearning.convexity import layers_before, only_layer
from app.unlearning.errors import NotApplicable
from app.unlearning.output_points import Line, Point
from app.unlearning.problem import Problem

_HELD_BYTES = 1 << 30
"""What single-precision inputs may hold; batches beyond it are read anew for every pass."""

_TOGETHER = 1 << 20
"""Scalars of the inputs of a batch: few enough to be in the cache still for the second pass."""


class LinearObjective:
    """The mean loss over the edited rows plus the decay, and its derivatives.

    Parameters go by name. Those that a mapping lacks keep the network's values; derivatives are
    taken for those that are given.

    Attributes:
        weight_name: Of the layer's weight.
        bias_name: Of its bias, or None.
        total: Rows of the edited data, which sums over rows are divided by.
        gradient_evaluations: Rows passed over, for a gradient or for the curvature.
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
        self.weight_name = own[id(layer.weight)]
        self.bias_name = own.get(id(layer.bias))
        self._fixed = {n: p.detach().double() for n, p in problem.model.named_parameters()}
        self._problem, self._before = problem, layers_before(problem.model)
        self._objective, self._decay = problem.objective, problem.objective.weight_decay
        self.total = float(problem.edited_total)
        self._batch_size = max(1, _TOGETHER // layer.in_features)
        self._singles: list[Tensor] = []
        self._held = 0
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
        sums, total, points = _Sums(values[self.weight_name]), 0.0, []
        for position, (inputs, targets, weights) in enumerate(self._batches()):
            found = self._apply(inputs.double(), values) if outputs is None else outputs[position]
            point = Point(self._objective, found, targets, weights)
            total += point.loss()
            sums.add(point.slope(), inputs.double())
            points.append(point)
            self._keep(position, inputs)
            self.gradient_evaluations += len(inputs)
        self._points = points
        return self._mean(total, values), self._with_decay(sums, theta)

    def nearly(
        self, theta: Mapping[str, Tensor], outputs: Sequence[Tensor] | None = None
    ) -> tuple[float, dict[str, Tensor]]:
        """Return loss and gradient as :meth:`loss_and_gradient` does, summed in float32.

        Args:
            theta: Full float64 tensors.
            outputs: What the layer returns there for each batch; None for what it returned at the
                last point, if that is ``theta``.
        """
        if outputs is not None:
            self._points = [p.at(o) for p, o in zip(self._points, outputs, strict=True)]
        values = {**self._fixed, **theta}
        sums, total = _Sums(values[self.weight_name]), 0.0
        for inputs, point in self.curved():
            total += point.loss()
            sums.add(point.slope().float(), inputs)
            self.gradient_evaluations += len(inputs)
        return self._mean(total, values), self._with_decay(sums, theta)

    def line(
        self,
        theta: Mapping[str, Tensor],
        direction: Mapping[str, Tensor],
        *,
        single: bool = False,
    ) -> Line:
        """Look along a direction from the point of the last gradient.

        Args:
            theta: That point.
            direction: Full float64 tensors; parameters that are missing do not move.
            single: Take the change of the outputs in float32.

        Returns:
            The objective there.
        """
        still = {name: torch.zeros_like(t) for name, t in self._fixed.items()}
        along = {**still, **direction}
        if single:
            narrow = {name: d.float() for name, d in along.items()}
            changes = [self._apply(inputs, narrow).double() for inputs in self._in_single()]
        else:
            changes = [self._apply(inputs.double(), along) for inputs, _, _ in self._batches()]
        values = {**self._fixed, **theta}
        lean = sum(float((values[name] * d).sum()) for name, d in direction.items())
        square = sum(float(d.square().sum()) for d in direction.values())
        return Line(self._points, changes, self.total, (self._decay * lean, self._decay * square))

    def diagonal(self) -> dict[str, Tensor]:
        """Return the diagonal of the Hessian at the point of the last gradient, float64."""
        sums = _Sums(self._fixed[self.weight_name])
        for inputs, point in self.curved():
            sums.add(point.diagonal(), inputs.square())
            self.gradient_evaluations += len(inputs)
        return self._with_decay(sums, {n: torch.ones_like(t) for n, t in self._fixed.items()})

    @property
    def lines_of_a_row(self) -> int:
        """The columns of a root of a row's output Hessian; known once there was a gradient."""
        return self._points[0].roots(torch.zeros(1, dtype=torch.int64)).shape[1]

    def curved(self) -> Iterator[tuple[Tensor, Point]]:
        """Yield float32 inputs and the outputs at the point of the last gradient, by batches."""
        return zip(self._in_single(), self._points, strict=True)

    def _mean(self, total: float, values: Mapping[str, Tensor]) -> float:
        """Return the objective at ``values``, all parameters, from the sum of the rows' losses."""
        squares = sum(float(t.square().sum()) for t in values.values())
        return total / self.total + 0.5 * self._decay * squares

    def _with_decay(self, sums: "_Sums", values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = {self.weight_name: sums.slope}
        if self.bias_name is not None:
            named[self.bias_name] = sums.offset
        return {n: named[n] / self.total + self._decay * value for n, value in values.items()}

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
        outputs = inputs @ values[self.weight_name].t()
        return outputs if self.bias_name is None else outputs + values[self.bias_name]

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
        for position, (inputs, _, _) in enumerate(self._batches()):
            if position >= kept:
                yield self._keep(position, inputs)

    def _keep(self, position: int, inputs: Tensor) -> Tensor:
        """Return inputs in float32; of the first batches, as many as fit are held."""
        if position < len(self._singles):
            return self._singles[position]
        single = inputs.float()
        size = single.numel() * single.element_size()
        # Only an unbroken run of first batches is kept, so that their number says which.
        if position == len(self._singles) and self._held + size <= _HELD_BYTES:
            self._singles.append(single)
            self._held += size
        return single


class _Sums:
    """What adds up over rows to a gradient or a diagonal."""

    def __init__(self, weight: Tensor) -> None:
        self.slope = torch.zeros_like(weight)
        self.offset = weight.new_zeros(len(weight))

    def add(self, seeds: Tensor, inputs: Tensor) -> None:
        flat = seeds.flatten(0, -2)
        self.slope += flat.t() @ inputs.flatten(0, -2)
        self.offset += flat.sum(0)
