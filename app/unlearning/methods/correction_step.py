"""The closed-form correction of Warnecke et al. (NDSS 2023), on a selection.

gamma is what the correction adds to the gradient of the mean loss. First order: ``theta_S - tau
gamma_S``. Second order: ``theta_S - (H_SS + damping I)^-1 gamma_S`` with the curvature on the
edited data; on the old data it would be wrong even on a quadratic loss. A step is taken only if it
lowers the edited loss on all edited rows at hand. Where these are only a sample, what a few rows
change may be lost in its noise, and the step refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss, correction_gradient
from app.unlearning.methods.damped_newton import NewtonStep, Solving, newton_step
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem
from app.unlearning.sampling import uniform_sample
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
        residuals: For each second-order step taken, the relative residual of its solve.
        converged: Whether the solve of every step taken reached its tolerance; None without one.
        gradient_evaluations: Gradients computed, counted per row.
    """

    theta: dict[str, Tensor]
    steps: int
    loss_before: float
    loss_after: float
    sizes: tuple[float, ...]
    residuals: tuple[float, ...]
    converged: bool | None
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
    how: Solving,
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
        how: How a Newton step is solved for.

    Returns:
        The last point reached.

    Raises:
        NotConverged: LiSSA diverged.
    """
    selection = selection.touched()
    theta = {name: problem.parameters[name] for name in selection.names}
    generator = torch.Generator().manual_seed(problem.generator_seed)
    # A step that follows a few rows moves the loss by less than a sample of the others would by
    # chance, so it is judged on every edited row at hand.
    loss = EditedLoss(problem, rows=problem.edited)
    sample = uniform_sample(problem.edited, curvature_rows, generator)
    before = current = loss.loss(theta)
    sizes: list[float] = []
    solves: list[NewtonStep] = []
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
                how=how,
            )
        evaluations += cost + curvature.gradient_evaluations
        if found is None:
            break
        theta, current = found.theta, found.loss
        if isinstance(found, NewtonStep):
            sizes.append(found.damping)
            solves.append(found)
        else:
            sizes.append(found.rate)
        problem.progress((step + 1) / steps)
    return Correction(
        theta,
        steps=len(sizes),
        loss_before=before,
        loss_after=current,
        sizes=tuple(sizes),
        residuals=tuple(solve.residual for solve in solves),
        converged=all(solve.converged for solve in solves) if solves else None,
        gradient_evaluations=evaluations,
    )


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
