"""The methods and controls of the correction study: from a problem to a corrected network."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn

from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods import make_method
from app.unlearning.methods.masked_descent import restore, set_gradients
from app.unlearning.methods.ranking import select_ranked
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Selection,
    budget_count,
    magnitude_scores,
    random_scores,
    select_extreme,
)
from app.unlearning.truncation import tail_names, truncate
from app.unlearning.update import JSON, apply_update

OURS: Final = "ours (auto)"
SHARE: Final = 0.02
RATE, FINE_TUNING_RATE = 5e-3, 1e-3
SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Answer:
    """What a method gives.

    Attributes:
        model: The corrected network.
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


def library(name: str, **parameters: JSON) -> Correct:
    """A method of the library with its hyperparameters."""

    def correct(problem: Problem, spent: Spent) -> Answer:
        update = make_method(name, parameters).unlearn(problem)
        steps = update.diagnostics.get("steps")
        made = steps if isinstance(steps, int) else 0
        return Answer(apply_update(problem.model, update), made, update.method)

    return correct


def fine_tuned(problem: Problem, spent: Spent) -> Answer:
    """All parameters, on all rows, for as long as ours took.

    The step size falls to zero over the second half of that time.
    """
    whole = problem.with_all_retained()
    everything = Selection.everything(problem.parameters)
    started = time.process_time()

    def done(_: int) -> float:
        return (time.process_time() - started) / max(spent.seconds, 1e-3)

    return _descend(problem, whole, everything, done=done, rate=FINE_TUNING_RATE, batch=64)


def random_mask(problem: Problem, spent: Spent, *, share: float, rate: float) -> Answer:
    """Fifty small steps on scalars drawn at random from the whole network."""
    scores = random_scores(problem.parameters, problem.generator_seed)
    mask = select_extreme(scores, budget_count(share, problem.parameter_count))
    return _descend(problem, problem, mask, done=share_of(50), rate=rate, batch=64)


def salient_mask(problem: Problem, spent: Spent) -> Answer:
    """Fifty steps on the scalars of largest gradient on the wrong rows, as SalUn chooses them.

    SalUn (Fan et al. 2024) ranks by the gradient of the loss on the rows to forget as they were
    trained on; what they are taught instead is known here: the right labels.
    """
    loss = EditedLoss(problem, rows=problem.forget)
    scores = magnitude_scores(loss.gradient(problem.parameters))
    mask = select_extreme(scores, budget_count(SHARE, problem.parameter_count))
    return _descend(problem, problem, mask, done=share_of(50), rate=1e-2, batch=64)


def random_tail(problem: Problem, spent: Spent, *, share: float = SHARE) -> Answer:
    """As ours (rows, layers, steps, step size), but on a mask drawn at random beforehand."""
    names = tail_names(problem.model, budget_count(0.5, problem.parameter_count))
    own = {name: problem.parameters[name] for name in names}
    count = budget_count(share, problem.parameter_count)
    mask = select_extreme(random_scores(own, problem.generator_seed), count).touched()
    part = truncate(problem.with_all_retained(), mask.names)
    return _descend(problem, part, mask, done=share_of(spent.steps), rate=RATE, batch=128)


def curved_tail(problem: Problem, spent: Spent) -> Answer:
    """The same on the scalars of largest Newton decrement, chosen beforehand."""
    names = tail_names(problem.model, budget_count(0.5, problem.parameter_count))
    part = truncate(problem.with_all_retained(), names)
    count = budget_count(SHARE, problem.parameter_count)
    mask = select_ranked(part, names, count, "global", 1e-2, Selection({})).selection
    return _descend(problem, part, mask, done=share_of(spent.steps), rate=RATE, batch=128)


def share_of(steps: int) -> Done:
    """How much of so many steps is done before a step."""
    return lambda step: step / steps if steps else 1.0


def _descend(
    problem: Problem, part: Problem, mask: Selection, *, done: Done, rate: float, batch: int
) -> Answer:
    """Adam on the mask, the step size falling to zero over the second half; nothing is judged."""
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


METHODS: Final[Mapping[str, Correct]] = {
    OURS: library("auto"),
    "  ranked by movement alone": library("shrinking_mask", ranking="movement"),
    "  random mask, all else equal": random_tail,
    "  decrement mask, all else equal": curved_tail,
    "  on the retained sample": library("shrinking_mask", every_row=False),
    "fine-tune, equal cost": fine_tuned,
    "SalUn-style mask 2 %, 50 steps": salient_mask,
    "random mask 1 %, 50 steps 1e-3": partial(random_mask, share=0.01, rate=1e-3),
    "random mask 1 %, 50 steps 1e-2": partial(random_mask, share=0.01, rate=1e-2),
    "last layer": library("last_layer"),
    "saps 2 %, first order": library("saps", fraction=SHARE, order="first"),
    "saps 2 %, second order": library("saps", fraction=SHARE),
    "sparse_newton 2 %": library("sparse_newton", fraction=SHARE),
}
"""What stands in the table; the first sets the cost at which others are compared."""

FRONTIER: Final[Mapping[str, Callable[[float], Correct]]] = {
    "ours": lambda share: library("shrinking_mask", fraction=share),
    "random mask, all else equal": lambda share: partial(random_tail, share=share),
    "sparse_newton": lambda share: library("sparse_newton", fraction=share),
}
"""What is plotted against the share of the parameters."""
