"""Limited-memory BFGS on a selection of coordinates (Liu and Nocedal 1989).

The minimiser works on the flat vector of selected coordinates alone, so neither memory nor
momentum can reach any other. Steps are found by backtracking until the Armijo condition holds;
pairs of little or negative curvature are left out, which keeps the metric positive definite. The
loss therefore falls with every accepted step and never rises. The units of the loss change nothing:
the first step, which knows no curvature, has a length in the units of the parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from app.unlearning.errors import NonFinite
from app.unlearning.selection.selection import Selection
from app.unlearning.solvers.secant_pairs import SecantPairs

Evaluate = Callable[[Mapping[str, Tensor]], tuple[float, Mapping[str, Tensor]]]
"""From full tensors of the selected parameters to the loss and its gradient, by name."""

_SUFFICIENT_DECREASE = 1e-4
_MOST_BACKTRACKS = 20


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        values: Full new tensors of the parameters with selected coordinates; every other
            coordinate keeps its bits.
        loss_before: Loss at the start.
        loss_after: Loss at ``values``; never above ``loss_before``.
        steps: Accepted steps.
        evaluations: Evaluations of loss and gradient, the first included.
        gradient_norm: Largest absolute entry of the gradient on the selection at ``values``.
        converged: The gradient is within the tolerance.
    """

    values: dict[str, Tensor]
    loss_before: float
    loss_after: float
    steps: int
    evaluations: int
    gradient_norm: float
    converged: bool


def masked_lbfgs(
    evaluate: Evaluate,
    start: Mapping[str, Tensor],
    selection: Selection,
    *,
    max_steps: int = 20,
    tolerance: float = 1e-6,
    history: int = 10,
    progress: Callable[[float], None] | None = None,
) -> Minimum:
    """Minimise a loss over the selected coordinates, starting at ``start``.

    Args:
        evaluate: The loss, a mean or a sum, and its gradient.
        start: Full tensors of at least the parameters with selected coordinates.
        selection: What may change.
        max_steps: Most accepted steps.
        tolerance: Largest absolute gradient entry at which to stop, as a share of the first one.
        history: Pairs remembered.
        progress: Told the fraction of ``max_steps`` made after each step; may raise to abort.

    Returns:
        The last accepted point; the start if there is no better one.

    Raises:
        NonFinite: Loss or gradient at the start is NaN or infinite.
    """
    touched = selection.touched()
    line = _Line(evaluate, start, touched)
    here = line.at(torch.zeros_like(touched.gather(start)))
    if not here.is_finite():
        raise NonFinite("loss or gradient at the start")
    first, enough = here, tolerance * here.steepness()
    pairs = SecantPairs(history)
    steps = 0
    while steps < max_steps and here.steepness() > enough:
        direction = -pairs.applied(here.gradient)
        there = _backtrack(line, here, direction, 1.0 if pairs else _first_length(here.gradient))
        if there is None:
            if not pairs:
                break
            # The metric may be stale; steepest descent decides whether there is a way down.
            pairs.clear()
            continue
        pairs.remember(there.place - here.place, there.gradient - here.gradient)
        here, steps = there, steps + 1
        if progress is not None:
            progress(steps / max_steps)
    return Minimum(
        touched.add(start, here.place) if steps else {n: start[n] for n in touched.masks},
        first.loss,
        here.loss,
        steps,
        line.evaluations,
        here.steepness(),
        here.steepness() <= enough,
    )


@dataclass(frozen=True)
class _Point:
    """A displacement from the start on the selection, with loss and gradient there."""

    place: Tensor
    loss: float
    gradient: Tensor

    def is_finite(self) -> bool:
        return isfinite(self.loss) and bool(torch.isfinite(self.gradient).all())

    def steepness(self) -> float:
        return float(self.gradient.abs().max()) if len(self.gradient) else 0.0


class _Line:
    """Evaluates displacements and counts."""

    def __init__(
        self, evaluate: Evaluate, start: Mapping[str, Tensor], selection: Selection
    ) -> None:
        self._evaluate, self._start, self._selection = evaluate, start, selection
        self.evaluations = 0

    def at(self, place: Tensor) -> _Point:
        self.evaluations += 1
        loss, gradient = self._evaluate(self._selection.add(self._start, place))
        return _Point(place, float(loss), self._selection.gather(gradient).detach())


def _backtrack(line: _Line, here: _Point, direction: Tensor, length: float) -> _Point | None:
    """Find a point with sufficient decrease along ``direction``; None if there is none."""
    slope = float(here.gradient @ direction)
    if not slope < 0.0:
        return None
    for _ in range(_MOST_BACKTRACKS):
        there = line.at(here.place + length * direction)
        if there.is_finite() and there.loss <= here.loss + _SUFFICIENT_DECREASE * length * slope:
            # In finite precision a step too short to lower the loss can pass the condition.
            return there if there.loss < here.loss else None
        length *= _shrink(here.loss, there.loss, slope * length)
    return None


def _shrink(before: float, after: float, drop: float) -> float:
    """Return the minimiser of the parabola through what is known, kept within [0.1, 0.5]."""
    bend = after - before - drop
    if not isfinite(bend) or bend <= 0.0:
        return 0.1
    return min(0.5, max(0.1, -drop / (2.0 * bend)))


def _first_length(gradient: Tensor) -> float:
    """Move the coordinates by one in all; backtracking finds a better length on a parabola."""
    return 1.0 / float(gradient.abs().sum())
