"""Controls of the deletion study that spend the processor time that ours spent.

Each makes steps of Adam until that time is gone, the step size falling to zero over the second half
of it; the time that a mask takes counts. Nothing is judged, and no held-out rows are read.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import torch

from app.unlearning.problem import Problem
from app.unlearning.rows import Rows, TensorRows
from benchmarks.quality.equal_cost import (
    FINE_TUNING_RATE,
    Answer,
    Correct,
    Spent,
    descend,
    drawn,
    fine_tuned,
    salient,
    share_of_time,
)


def salun(problem: Problem, spent: Spent, *, share: float) -> Answer:
    """The scalars of largest gradient on the forgotten rows learn random labels for them.

    SalUn (Fan et al. 2024): the mask by the gradient of the loss on the forgotten rows with their
    own labels, then descent on the retained rows and the forgotten ones, each with a label drawn
    uniformly from those that are not its own. SalUn takes the larger half of the gradients and
    10 epochs; the budget and the time here are those of ours.

    Args:
        problem: The deletion.
        spent: By ours.
        share: Of the scalars that may change.

    Returns:
        Where it ended.
    """
    done = share_of_time(spent)
    mask = salient(problem, share)
    taught = replace(problem.with_all_retained(), replacement=relabelled(problem))
    return descend(problem, taught, mask, done=done, rate=FINE_TUNING_RATE, batch=64)


def salient_mask(problem: Problem, spent: Spent, *, share: float) -> Answer:
    """SalUn's mask, then descent on the retained rows alone; arguments as for ``salun``."""
    done = share_of_time(spent)
    mask, whole = salient(problem, share), problem.with_all_retained()
    return descend(problem, whole, mask, done=done, rate=FINE_TUNING_RATE, batch=64)


def random_mask(problem: Problem, spent: Spent, *, share: float) -> Answer:
    """The same on scalars drawn at random from the whole network."""
    done = share_of_time(spent)
    mask, whole = drawn(problem, share), problem.with_all_retained()
    return descend(problem, whole, mask, done=done, rate=FINE_TUNING_RATE, batch=64)


def relabelled(problem: Problem) -> Rows:
    """The forgotten rows, each with a label drawn uniformly from those that are not its own.

    Args:
        problem: The deletion; a network with one output has the labels 0 and 1.

    Returns:
        The rows, in their order.
    """
    rows = problem.forget.take(torch.arange(len(problem.forget)))
    if problem.objective.name == "binary_cross_entropy":
        return TensorRows(rows.inputs, 1 - rows.targets)
    with torch.no_grad():
        classes = problem.model(rows.inputs[:1]).shape[-1]
    draw = torch.Generator().manual_seed(problem.generator_seed)
    further = torch.randint(1, classes, rows.targets.shape, generator=draw)
    return TensorRows(rows.inputs, (rows.targets + further) % classes)


CONTROLS: Final[Mapping[str, Correct]] = {
    "fine-tune, equal cost": fine_tuned,
    "SalUn 10 %, equal cost": partial(salun, share=0.1),
    "  without random labels": partial(salient_mask, share=0.1),
    "  nor a chosen mask": partial(random_mask, share=0.1),
}
