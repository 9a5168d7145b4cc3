"""What no choice of so many coordinates can exceed.

With F = L + decay / 2 |w|^2 and convex L, the tangent of L at any point u bounds F from below:

    F(w0 + d) >= L(u) + v^T (w0 + d - u) + decay / 2 |w0 + d|^2,   v = grad L(u).

If only k entries of d may differ from zero, the least of the right side takes the k largest of
(v + decay w0)^2 / (2 decay). This holds for every u. A good one is the minimiser of the convex
relaxation in which d_j^2 costs 1 / z_j times as much, sum of z <= k, z <= 1: the perspective
relaxation of the choice (Guenluek and Linderoth 2010), whose penalty is the squared k-support norm
(Argyriou, Foygel and Srebro 2012). Where choices are few, every one of them is tried instead.
"""

import math
from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from app.unlearning.linear_objective import LinearObjective
from app.unlearning.methods.edited_curvature import EditedCurvature
from app.unlearning.problem import Problem
from app.unlearning.selection import Selection

ROUNDS = 12
MOST_CHOICES = 10_000
_STEPS = 20
_LEAST = 1e-9


def at_most(problem: Problem, least: float, target: dict[str, Tensor], count: int) -> float:
    """Bound the share of the gap in edited loss that any ``count`` coordinates close.

    Args:
        problem: Its network holds w0; float64, positive weight decay.
        least: Edited loss of the retrained parameters.
        target: The retrained parameters, from which the relaxation starts.
        count: k.

    Returns:
        A share that no choice exceeds, whether or not the relaxation was solved.
    """
    objective, decay = LinearObjective(problem), problem.objective.weight_decay
    everything = Selection.everything(problem.parameters)
    start = everything.gather(problem.parameters)
    before = objective.loss_and_gradient(problem.parameters)[0]
    change, bound = everything.gather(target) - start, -math.inf
    for _ in range(ROUNDS):
        theta = everything.scatter(start + change)
        value, slopes = objective.loss_and_gradient(theta)
        slope = everything.gather(slopes)
        # Of L alone, and of L with what the decay adds at w0.
        alone, here = slope - decay * (start + change), slope - decay * change
        tangent = value - 0.5 * decay * float((start + change).square().sum())
        tangent += 0.5 * decay * float(start.square().sum()) - float(alone @ change)
        gains = here.square() / (2 * decay)
        bound = max(bound, tangent - float(gains.topk(count).values.sum()))
        prices = decay / shares(change.abs(), count)
        block = EditedCurvature(problem, theta, everything).block()
        block.diagonal().add_(prices - decay)
        change = change - torch.linalg.solve(block, here + prices * change)
    return (before - bound) / (before - least)


def shares(sizes: Tensor, count: int) -> Tensor:
    """Return the z in (0, 1] with sum ``count`` for which the sum of sizes^2 / z is least.

    Args:
        sizes: (k,), at least zero.
        count: Less than k.
    """
    sizes = sizes + _LEAST * sizes.max().clamp(min=_LEAST)
    order = sizes.sort(descending=True).values
    whole = torch.arange(count, dtype=torch.float64)
    heights = order.flip(0).cumsum(0).flip(0)[:count] / (count - whole)
    fits = (order[:count] <= heights).nonzero()
    height = heights[int(fits[0]) if len(fits) else count - 1]
    return (sizes / height).clamp(max=1.0)


def by_trial(problem: Problem, least: float, count: int) -> float | None:
    """Return the largest share that any ``count`` coordinates close, or slightly more.

    Args:
        problem: A logistic regression whose network is one linear layer with a bias.
        least: Edited loss of the retrained parameters.
        count: k.

    Returns:
        None if there are more than :data:`MOST_CHOICES` choices.
    """
    if math.comb(problem.parameter_count, count) > MOST_CHOICES:
        return None
    before = LinearObjective(problem).loss_and_gradient(problem.parameters)[0]
    lowest = min(_least_losses(problem, count))
    return (before - lowest) / (before - least)


def _least_losses(problem: Problem, count: int) -> Iterator[float]:
    """Yield a lower bound of the edited loss over each choice, tight to rounding."""
    batches = list(problem.edited.batches(len(problem.edited)))
    labels = torch.cat([batch.targets for batch in batches])
    ones = torch.ones(1, len(labels), dtype=torch.float64)
    columns = torch.cat([torch.cat([b.inputs for b in batches]).t(), ones]).contiguous()
    start = torch.cat([p.flatten() for p in problem.parameters.values()])
    outputs, decay = start @ columns, problem.objective.weight_decay
    square = float(start.square().sum())
    for choice in combinations(range(len(start)), count):
        yield _least_loss(columns[list(choice)], labels, outputs, start[list(choice)], decay) + (
            0.5 * decay * (square - float(start[list(choice)].square().sum()))
        )


def _least_loss(
    columns: Tensor, labels: Tensor, outputs: Tensor, start: Tensor, decay: float
) -> float:
    """Minimise the mean logistic loss plus the decay of a few scalars by Newton's method.

    Returns:
        The loss reached, less what a gradient of that size can still hide.
    """
    change, identity, best = torch.zeros_like(start), torch.eye(len(start)).double(), -math.inf
    for _ in range(_STEPS):
        scores = outputs + change @ columns
        chances = scores.sigmoid()
        own = start + change
        slope = columns @ (chances - labels) / len(labels) + decay * own
        loss = float((torch.nn.functional.softplus(scores) - labels * scores).mean())
        loss += 0.5 * decay * float(own.square().sum())
        hidden = float(slope.square().sum()) / (2 * decay)
        best = max(best, loss - hidden)
        if hidden <= 1e-6 * _LEAST:
            break
        spread = columns * (chances * (1 - chances))
        block = spread @ columns.t() / len(labels) + decay * identity
        change = change - torch.linalg.solve(block, slope)
    return best
