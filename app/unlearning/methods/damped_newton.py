"""One Newton step on the selected scalars, its damping chosen on the edited loss.

Raw Newton steps on networks are useless or worse (a diagonal one without a step size made a model
five times worse than leaving it alone); so the curvature is the Gauss-Newton matrix, which is
never negative, several dampings are tried (Levenberg 1944, Marquardt 1963) and the best step is
taken only if it lowers the edited loss.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.edited_curvature import BLOCK_LIMIT, EditedCurvature
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import solve_damped
from app.unlearning.solvers.conjugate_gradient import conjugate_gradient

# Dampings tried, as multiples of the smallest.
_PATH = (1.0, 10.0, 100.0, 1000.0)
# Relative residual of a solve by products: the step is judged by the loss, not by the solve.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class NewtonStep:
    """An accepted step.

    Attributes:
        theta: Full new tensors of the parameters with selected scalars.
        damping: The damping it was found with, in the units of the curvature.
        loss: The edited loss after it.
    """

    theta: dict[str, Tensor]
    damping: float
    loss: float


def newton_step(
    loss: EditedLoss,
    curvature: EditedCurvature,
    theta: Mapping[str, Tensor],
    selection: Selection,
    gradient: Tensor,
    *,
    current: float,
    damping: float,
    max_products: int = 20,
    block_limit: int = BLOCK_LIMIT,
) -> NewtonStep | None:
    """Solve ``(H_SS + damping I) d = -g_S`` along a path of dampings and keep the best step.

    Args:
        loss: The edited loss.
        curvature: H_SS at ``theta``.
        theta: The selected parameters.
        selection: The selected scalars S.
        gradient: g_S, shape ``(|S|,)``.
        current: The edited loss at ``theta``.
        damping: Smallest damping, in units of the curvature along the gradient; with 0 the
            undamped step alone is tried.
        max_products: Most products for each damping where no block is formed.
        block_limit: Form H_SS up to this many scalars.

    Returns:
        The step with the least edited loss, or None if none is below ``current``.
    """
    scale = curvature.along(gradient)
    path = tuple(factor * damping * scale for factor in _PATH) if damping > 0 else (0.0,)
    by_block = selection.count <= block_limit
    steps = (
        _by_block(curvature, gradient, path)
        if by_block
        else _by_products(curvature, gradient, path, max_products)
    )
    best: NewtonStep | None = None
    for used, step in zip(path, steps, strict=True):
        if step is None or not bool(torch.isfinite(step).all()):
            continue
        point = dict(theta) | selection.add(theta, step)
        value = loss.loss(point)
        if value < (current if best is None else best.loss):
            best = NewtonStep(point, used, value)
        elif best is not None:
            # The loss has begun to rise again along the path: more damping only shortens the step.
            break
    return best


def _by_block(
    curvature: EditedCurvature, gradient: Tensor, path: Sequence[float]
) -> Iterator[Tensor | None]:
    yield from solve_damped(curvature.block(), -gradient, path)


def _by_products(
    curvature: EditedCurvature, gradient: Tensor, path: Sequence[float], max_products: int
) -> Iterator[Tensor | None]:
    for damping in path:

        def product(vector: Tensor, damping: float = damping) -> Tensor:
            return curvature.product(vector) + damping * vector

        solve = conjugate_gradient(product, -gradient, tolerance=_TOLERANCE, max_steps=max_products)
        yield solve.solution
