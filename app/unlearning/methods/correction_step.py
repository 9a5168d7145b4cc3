"""The closed-form correction of Warnecke et al. (NDSS 2023), on a selection.

gamma is what the correction adds to the gradient of the mean loss. First order: ``theta_S - tau
gamma_S``. Second order: ``theta_S - (H_SS + damping I)^-1 gamma_S`` with the curvature on the
edited data; on the old data it would be wrong even on a quadratic loss. A step is taken only if it
lowers the edited loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss, correction_gradient
from app.unlearning.methods.damped_newton import NewtonStep, newton_step
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem
from app.unlearning.sampling import EVALUATION_ROWS, uniform_sample
from app.unlearning.selection import Selection

Order = Literal["first", "second"]
_HALVINGS = 12


@dataclass(frozen=True)
class Correction:
    """Where the steps led.

    Attributes:
        theta: Full tensors of the parameters with selected scalars.
        steps: Steps taken.
        loss_before: Edited loss at the start, on the rows it was judged on.
        loss_after: Edited loss at ``theta``; never above ``loss_before``.
        sizes: For each step taken, tau (first order) or the damping (second order).
        gradient_evaluations: Gradients computed, counted per row.
    """

    theta: dict[str, Tensor]
    steps: int
    loss_before: float
    loss_after: float
    sizes: tuple[float, ...]
    gradient_evaluations: int


def correct(
    problem: Problem,
    selection: Selection,
    *,
    order: Order,
    steps: int,
    rate: float | None,
    damping: float,
    curvature_rows: int,
    max_products: int,
) -> Correction:
    """Make up to ``steps`` correction steps on the selected scalars.

    Args:
        problem: The problem; its network is read, never written.
        selection: What may change.
        order: ``first`` or ``second``.
        steps: Most steps; gamma is evaluated again at each.
        rate: First tau tried; None takes the exact minimiser of the local quadratic model along
            gamma. Halved until the edited loss falls.
        damping: Smallest damping, in units of the curvature along gamma.
        curvature_rows: Rows of a uniform sample on which the curvature is taken.
        max_products: Most curvature products of a solve.

    Returns:
        The last point reached.
    """
    selection = selection.touched()
    theta = {name: problem.parameters[name] for name in selection.names}
    generator = torch.Generator().manual_seed(problem.generator_seed)
    judged = uniform_sample(problem.edited, EVALUATION_ROWS, generator)
    loss = EditedLoss(problem, rows=judged)
    sample = uniform_sample(problem.edited, curvature_rows, generator)
    before = current = loss.loss(theta)
    sizes: list[float] = []
    evaluations = 0
    for step in range(steps):
        gamma, cost = correction_gradient(problem, theta)
        direction = selection.gather(gamma)
        if not bool(direction.any()):
            break
        curvature = EditedCurvature(problem, theta, selection, rows=sample)
        found: _Descent | NewtonStep | None
        if order == "first":
            found = _descend(loss, curvature, theta, selection, direction, current, rate)
        else:
            found = newton_step(
                loss,
                curvature,
                theta,
                selection,
                direction,
                current=current,
                damping=damping,
                max_products=max_products,
            )
        evaluations += cost + curvature.gradient_evaluations
        if found is None:
            break
        theta, current = found.theta, found.loss
        sizes.append(found.damping if isinstance(found, NewtonStep) else found.rate)
        problem.progress((step + 1) / steps)
    return Correction(theta, len(sizes), before, current, tuple(sizes), evaluations)


@dataclass(frozen=True)
class _Descent:
    """An accepted first-order step."""

    theta: dict[str, Tensor]
    loss: float
    rate: float


def _descend(
    loss: EditedLoss,
    curvature: EditedCurvature,
    theta: Mapping[str, Tensor],
    selection: Selection,
    gamma: Tensor,
    current: float,
    rate: float | None,
) -> _Descent | None:
    """Backtrack along -gamma until the edited loss falls; None if it never does."""
    if rate is None:
        bend = curvature.along(gamma)
        rate = 1.0 / bend if bend > 0 else 1.0
    for _ in range(_HALVINGS):
        point = selection.add(theta, -rate * gamma)
        value = loss.loss(point)
        if value < current:
            return _Descent(point, value, rate)
        rate /= 2
    return None
