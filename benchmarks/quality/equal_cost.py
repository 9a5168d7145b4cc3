"""Descents that studies compare with: on a mask, for as many steps or as long as ours took."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods.masked_descent import restore, set_gradients
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Selection,
    budget_count,
    magnitude_scores,
    random_scores,
    select_extreme,
)

FINE_TUNING_RATE = 1e-3


@dataclass(frozen=True)
class Answer:
    """What a method gives.

    Attributes:
        model: The new network.
        steps: Mini-batch steps made; 0 where the method does not tell.
        chosen: The method that ran.
    """

    model: nn.Module
    steps: int = 0
    chosen: str = ""


@dataclass(frozen=True)
class Spent:
    """What ours spent on the same problem, for controls at equal cost.

    Attributes:
        seconds: Of the processor.
        steps: Its mini-batch steps.
    """

    seconds: float
    steps: int


Correct = Callable[[Problem, Spent], Answer]
Done = Callable[[int], float]
"""From the number of steps made to the share of a descent that is done."""


def fine_tuned(problem: Problem, spent: Spent) -> Answer:
    """All parameters, on all rows, for as long as ours took.

    The step size falls to zero over the second half of that time.
    """
    done = share_of_time(spent)
    whole = problem.with_all_retained()
    everything = Selection.everything(problem.parameters)
    return descend(problem, whole, everything, done=done, rate=FINE_TUNING_RATE, batch=64)


def salient(problem: Problem, share: float) -> Selection:
    """The scalars of largest gradient on the affected rows, as they were trained on.

    SalUn (Fan et al. 2024) ranks by this gradient; it takes the larger half, here it is a budget.

    Args:
        problem: The problem.
        share: Of the trainable scalars.

    Returns:
        The mask.
    """
    loss = EditedLoss(problem, rows=problem.forget)
    scores = magnitude_scores(loss.gradient(problem.parameters))
    return select_extreme(scores, budget_count(share, problem.parameter_count))


def drawn(problem: Problem, share: float) -> Selection:
    """Scalars drawn at random from the whole network; arguments as for ``salient``."""
    scores = random_scores(problem.parameters, problem.generator_seed)
    return select_extreme(scores, budget_count(share, problem.parameter_count))


def share_of(steps: int) -> Done:
    """How much of so many steps is done before a step."""
    return lambda step: step / steps if steps else 1.0


def share_of_time(spent: Spent) -> Done:
    """How much of the processor time that ours took is gone, from now on."""
    started = time.process_time()
    return lambda _: (time.process_time() - started) / max(spent.seconds, 1e-3)


def descend(
    problem: Problem, part: Problem, mask: Selection, *, done: Done, rate: float, batch: int
) -> Answer:
    """Adam on the mask, the step size falling to zero over the second half; nothing is judged.

    Args:
        problem: Whose network starts.
        part: Whose edited data are descended on, and whose parameters ``mask`` names.
        mask: What may change.
        done: When to stop.
        rate: Step size.
        batch: Rows of a step.

    Returns:
        Where it ended.
    """
    mask = mask.touched()
    start = {name: problem.parameters[name] for name in mask.names}
    theta = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    optimizer = torch.optim.Adam(theta.values(), lr=rate, betas=(0.9, 0.99))
    rows, draw = part.edited, torch.Generator().manual_seed(problem.generator_seed)
    order = torch.empty(0, dtype=torch.int64)
    step = 0
    while (share := done(step)) < 1:
        if not len(order):
            order = torch.randperm(len(rows), generator=draw)
        positions, order = order[:batch], order[batch:]
        optimizer.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - share))
        set_gradients(part, rows, positions, theta, mask)
        optimizer.step()
        restore(theta, start, mask)
        step += 1
    values = {name: tensor.detach() for name, tensor in theta.items()}
    return Answer(problem.at(values).model, step)
