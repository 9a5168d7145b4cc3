"""Minimise the edited loss over a selection, by a solver that suits its size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from app.unlearning.convexity import is_convex
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.convex_optimum import convex_optimum
from app.unlearning.methods.damped_newton import Solving, newton_step
from app.unlearning.methods.edited_curvature import BLOCK_LIMIT, EditedCurvature
from app.unlearning.methods.masked_descent import masked_descent
from app.unlearning.problem import Problem, unreported
from app.unlearning.sampling import uniform_sample
from app.unlearning.selection import Selection
from app.unlearning.solvers.masked_lbfgs import masked_lbfgs

Solver = Literal["auto", "optimum", "block", "lbfgs", "adam"]

# Above this many rows a full pass for each L-BFGS step costs more than it gives; a pass through
# dense layers costs little.
_FULL_BATCH_ROWS = 1000
_FULL_BATCH_ROWS_DENSE = 10_000
_ITERATIONS = {"optimum": 500, "block": 10, "lbfgs": 20, "adam": 150}
# The block is formed on a sample of at most this many rows.
_CURVATURE_ROWS = 1024
# Newton steps end when one gains less than this share of the loss they began with.
_WORTHWHILE = 1e-3
# Where the search on a convex model stops: the gradient norm, or the share of the way left.
_GRADIENT, _LEFT = 1e-9, 1e-5


@dataclass(frozen=True)
class Minimised:
    """Where the minimisation ended.

    Attributes:
        values: Full new tensors of the parameters with selected scalars.
        solver: The solver that ran.
        steps: Newton steps, iterations or mini-batch steps made.
        loss_before: Edited loss at the start, on the rows (or the sample) it was judged on.
        loss_after: The same at ``values``; never above ``loss_before``.
        dampings: Damping of each Newton step.
        gradient_evaluations: Gradients computed, counted per row.
    """

    values: dict[str, Tensor]
    solver: str
    steps: int
    loss_before: float
    loss_after: float
    dampings: tuple[float, ...]
    gradient_evaluations: int


def minimise(
    problem: Problem,
    selection: Selection,
    *,
    solver: Solver,
    iterations: int | None,
    damping: float,
    learning_rate: float,
    batch_size: int,
    progress: Callable[[float], None] = unreported,
) -> Minimised:
    """Minimise the edited loss over the selected scalars, starting at the network's parameters.

    Args:
        problem: The problem; its network is read, never written.
        selection: What may change; at least one scalar.
        solver: ``optimum`` goes to the optimum of a convex model; ``auto`` takes the block up to
            :data:`BLOCK_LIMIT` scalars, L-BFGS while a full pass is cheap, Adam on mini-batches
            otherwise.
        iterations: Most steps of the solver; None for its default.
        damping: Smallest damping of the Newton steps, in units of the block's mean diagonal.
        learning_rate: Step size of Adam.
        batch_size: Rows of an Adam step.
        progress: Told the fraction done.

    Returns:
        The best point found; the start if none is better.

    Raises:
        NotApplicable: The optimum of a model that is not convex is asked for.
        NotConverged: A convex model's optimum was not reached.
    """
    selection = selection.touched()
    if solver == "optimum":
        return _to_the_optimum(problem, selection, iterations or _ITERATIONS[solver], progress)
    name = choose_solver(problem, selection) if solver == "auto" else solver
    limit = iterations or _ITERATIONS[name]
    if name == "block":
        return _newton(problem, selection, limit, damping, progress)
    if name == "lbfgs":
        return _quasi_newton(problem, selection, limit, progress)
    descent = masked_descent(
        problem,
        selection,
        learning_rate=learning_rate,
        steps=limit,
        batch_size=batch_size,
        progress=progress,
    )
    return Minimised(
        descent.values,
        "adam",
        descent.steps,
        descent.loss_before,
        descent.loss_after,
        (),
        descent.gradient_evaluations,
    )


def choose_solver(problem: Problem, selection: Selection) -> Literal["block", "lbfgs", "adam"]:
    """Choose by the number of selected scalars, of rows, and what a pass over the rows costs."""
    if selection.count <= BLOCK_LIMIT:
        return "block"
    dense = all(
        isinstance(module, nn.Linear)
        for module in problem.model.modules()
        if any(True for _ in module.parameters(recurse=False))
    )
    limit = _FULL_BATCH_ROWS_DENSE if dense else _FULL_BATCH_ROWS
    return "lbfgs" if len(problem.edited) <= limit else "adam"


def suited(solver: Solver, problem: Problem) -> Solver:
    """Return ``optimum`` for a convex model where any solver will do; otherwise the same."""
    return "optimum" if solver == "auto" and is_convex(problem.model, problem.objective) else solver


def _to_the_optimum(
    problem: Problem, selection: Selection, limit: int, progress: Callable[[float], None]
) -> Minimised:
    found = convex_optimum(
        problem,
        tolerance=_GRADIENT,
        accuracy=_LEFT,
        max_steps=limit,
        selection=selection,
        progress=progress,
    )
    own = problem.parameters
    return Minimised(
        {name: value.to(own[name].dtype) for name, value in found.theta.items()},
        "optimum",
        found.steps,
        found.loss_before,
        found.loss_after,
        (),
        found.gradient_evaluations,
    )


def _newton(
    problem: Problem,
    selection: Selection,
    limit: int,
    damping: float,
    progress: Callable[[float], None],
) -> Minimised:
    loss = EditedLoss(problem)
    generator = torch.Generator().manual_seed(problem.generator_seed)
    sample = uniform_sample(problem.edited, _CURVATURE_ROWS, generator)
    theta = {name: problem.parameters[name] for name in selection.names}
    before, gradient = loss.loss_and_gradient(theta)
    current, used, evaluations = before, [], 0
    for step in range(limit):
        curvature = EditedCurvature(problem, theta, selection, rows=sample)
        found = newton_step(
            loss,
            curvature,
            theta,
            selection,
            selection.gather(gradient),
            current=current,
            damping=damping,
            how=Solving(block_limit=selection.count),
        )
        evaluations += curvature.gradient_evaluations
        if found is None:
            break
        gained = current - found.loss
        theta, current = found.theta, found.loss
        used.append(found.damping)
        progress((step + 1) / limit)
        if step + 1 == limit or gained <= _WORTHWHILE * abs(before):
            break
        gradient = loss.gradient(theta)
    evaluations += loss.gradient_evaluations
    return Minimised(theta, "block", len(used), before, current, tuple(used), evaluations)


def _quasi_newton(
    problem: Problem, selection: Selection, limit: int, progress: Callable[[float], None]
) -> Minimised:
    loss = EditedLoss(problem)
    start = {name: problem.parameters[name] for name in selection.names}
    found = masked_lbfgs(
        loss.loss_and_gradient, start, selection, max_steps=limit, progress=progress
    )
    return Minimised(
        found.values,
        "lbfgs",
        found.steps,
        found.loss_before,
        found.loss_after,
        (),
        loss.gradient_evaluations,
    )
