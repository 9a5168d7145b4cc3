"""One Newton step on the selected scalars, its damping chosen on the edited loss.

Raw Newton steps on networks are useless or worse (a diagonal one without a step size made a model
five times worse than leaving it alone); so the curvature is the Gauss-Newton matrix, which is
never negative, several dampings are tried (Levenberg 1944, Marquardt 1963) and the best step is
taken only if it lowers the edited loss. All dampings come from one block or one sequence of
products. What is damped is scaled by the diagonal of the curvature as Marquardt does it, plus its
mean, without which scalars of little curvature would run away.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable, NotConverged
from app.unlearning.methods.edited_curvature import BLOCK_LIMIT, EditedCurvature
from app.unlearning.selection import Selection
from app.unlearning.solvers.captured_block import solve_damped
from app.unlearning.solvers.damping_path import damping_path
from app.unlearning.solvers.lissa import lissa

LinearSolver = Literal["auto", "exact", "lissa"]
# Up to this many scalars an exact solve forms the curvature (32 MB in float64).
EXACT_LIMIT = 2048

# Dampings tried, as multiples of the smallest.
_PATH = (1.0, 10.0, 100.0, 1000.0)
# Relative residual of a solve by products: the step is judged by the loss, not by the solve.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Recursive:
    """How LiSSA is run.

    Attributes:
        steps: Most steps of a repetition.
        batch_size: Rows of a step, drawn anew each time; None for all rows of the curvature.
        repetitions: Recursions that are averaged.
        scale: What the curvature is divided by; None for what power iteration finds.
        tolerance: Relative residual at which a solve counts as converged.
        seed: Of the batches.
    """

    steps: int
    batch_size: int | None
    repetitions: int
    scale: float | None
    tolerance: float
    seed: int


@dataclass(frozen=True)
class Solving:
    """How the linear system of a step is solved.

    Attributes:
        block_limit: Form H_SS up to this many scalars.
        max_products: Most products for each damping where no block is formed.
        recursive: Solve by LiSSA, with the smallest damping alone, instead.
    """

    block_limit: int = BLOCK_LIMIT
    max_products: int = 20
    recursive: Recursive | None = None


def solving(solver: LinearSolver, count: int, max_products: int, recursive: Recursive) -> Solving:
    """Say how to solve for ``count`` scalars.

    Args:
        solver: ``exact`` forms the curvature whatever its size, ``lissa`` never does, ``auto``
            takes whichever is cheaper of the block and conjugate gradients.
        count: Scalars to solve for.
        max_products: Most products of conjugate gradients.
        recursive: How LiSSA is run.

    Returns:
        How.

    Raises:
        NotApplicable: An exact solve of too many scalars is asked for.
    """
    if solver == "exact" and count > EXACT_LIMIT:
        raise NotApplicable(
            f"an exact solve of {count} unknowns is asked for; the most is {EXACT_LIMIT}"
        )
    return Solving(
        EXACT_LIMIT if solver == "exact" else BLOCK_LIMIT,
        max_products,
        recursive if solver == "lissa" else None,
    )


@dataclass(frozen=True)
class NewtonStep:
    """An accepted step.

    Attributes:
        theta: Full new tensors of the parameters with selected scalars.
        damping: The damping it was found with, in the units of the curvature.
        loss: The edited loss after it.
        residual: Relative residual of the solve.
        converged: Whether the solve reached its tolerance. A step of a solve that stopped early is
            taken all the same when it lowers the loss: it is a descent direction.
    """

    theta: dict[str, Tensor]
    damping: float
    loss: float
    residual: float
    converged: bool


@dataclass(frozen=True)
class _Solved:
    """A candidate step, before the loss has judged it."""

    step: Tensor
    residual: float
    converged: bool


def newton_step(
    loss: EditedLoss,
    curvature: EditedCurvature,
    theta: Mapping[str, Tensor],
    selection: Selection,
    gradient: Tensor,
    *,
    current: float,
    damping: float,
    how: Solving | None = None,
) -> NewtonStep | None:
    """Solve ``(H_SS + damping D) d = -g_S`` along a path of dampings and keep the best step.

    D is the diagonal of H_SS plus its mean, divided by what it is along the gradient.

    Args:
        loss: The edited loss.
        curvature: H_SS at ``theta``.
        theta: The selected parameters.
        selection: The selected scalars S.
        gradient: g_S, shape ``(|S|,)``.
        current: The edited loss at ``theta``.
        damping: Smallest damping, in units of the curvature along the gradient; with 0 the
            undamped step alone is tried.
        how: How to solve; None for the defaults.

    Returns:
        The step with the least edited loss, or None if none is below ``current``.

    Raises:
        NotConverged: LiSSA diverged.
    """
    how = how or Solving()
    by_block = how.recursive is None and selection.count <= how.block_limit
    if by_block:
        curvature.block()
    scale = curvature.along(gradient)
    path = tuple(factor * damping * scale for factor in _PATH) if damping > 0 else (0.0,)
    if how.recursive is not None:
        path = path[:1]
        steps = _by_recursion(curvature, gradient, path[0], how.recursive)
    elif by_block:
        steps = _by_block(curvature, gradient, path)
    else:
        steps = _by_products(curvature, gradient, path, how.max_products)
    best: NewtonStep | None = None
    for used, found in zip(path, steps, strict=True):
        if found is None or not bool(torch.isfinite(found.step).all()):
            continue
        point = dict(theta) | selection.add(theta, found.step)
        value = loss.loss(point)
        if value < (current if best is None else best.loss):
            best = NewtonStep(point, used, value, found.residual, found.converged)
        elif best is not None:
            # The loss has begun to rise again along the path: more damping only shortens the step.
            break
    return best


def _by_block(
    curvature: EditedCurvature, gradient: Tensor, path: Sequence[float]
) -> Iterator[_Solved | None]:
    block, metric = curvature.block(), _metric(curvature, gradient)
    for damping, step in zip(path, solve_damped(block, -gradient, path, metric), strict=True):
        if step is None:
            yield None
            continue
        apart = float((block @ step + damping * metric * step + gradient).norm())
        residual = apart / max(float(gradient.norm()), torch.finfo(torch.float64).tiny)
        yield _Solved(step, residual, residual <= _TOLERANCE)


def _by_products(
    curvature: EditedCurvature, gradient: Tensor, path: Sequence[float], max_products: int
) -> Iterator[_Solved | None]:
    for solve in damping_path(
        curvature.product,
        -gradient,
        path,
        _metric(curvature, gradient),
        tolerance=_TOLERANCE,
        max_steps=max_products,
    ):
        yield _Solved(solve.solution, solve.residual, solve.residual <= _TOLERANCE)


def _metric(curvature: EditedCurvature, gradient: Tensor) -> Tensor:
    """Return D, (|S|,)."""
    diagonal = curvature.diagonal().clamp(min=0)
    metric = diagonal + diagonal.mean()
    along = float(gradient @ (metric * gradient))
    # Where there is no curvature at all, every direction is damped alike.
    return metric * (float(gradient @ gradient) / along) if along > 0 else torch.ones_like(metric)


def _by_recursion(
    curvature: EditedCurvature, gradient: Tensor, damping: float, how: Recursive
) -> Iterator[_Solved | None]:
    """Yield the one step that LiSSA finds.

    Raises:
        NotConverged: The recursion diverged.
    """
    generator = torch.Generator().manual_seed(how.seed)
    found = lissa(
        curvature.product,
        -gradient,
        damping=damping,
        tolerance=how.tolerance,
        max_steps=how.steps,
        batch_product=(
            None
            if how.batch_size is None or how.batch_size >= curvature.rows
            else curvature.batch_product(how.batch_size, generator)
        ),
        repetitions=how.repetitions,
        scale=how.scale,
    )
    if not bool(torch.isfinite(found.solution).all()):
        raise NotConverged(found.residual, how.tolerance)
    yield _Solved(found.solution, found.residual, found.converged)
