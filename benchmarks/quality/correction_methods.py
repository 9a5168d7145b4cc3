"""The methods and controls of the correction study: from a problem to a corrected network."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from app.unlearning.methods import make_method
from app.unlearning.methods.ranking import select_ranked
from app.unlearning.problem import Problem
from app.unlearning.selection import (
    Selection,
    budget_count,
    random_scores,
    select_extreme,
)
from app.unlearning.truncation import tail_names, truncate
from app.unlearning.update import JSON, apply_update
from benchmarks.quality.equal_cost import (
    Answer,
    Correct,
    Spent,
    descend,
    drawn,
    fine_tuned,
    salient,
    share_of,
)

OURS: Final = "ours (auto)"
SHARE: Final = 0.02
RATE = 5e-3
SHARES: Final = (0.005, 0.01, 0.02, 0.05, 0.1)


def library(name: str, **parameters: JSON) -> Correct:
    """A method of the library with its hyperparameters."""

    def correct(problem: Problem, spent: Spent) -> Answer:
        update = make_method(name, parameters).unlearn(problem)
        steps = update.diagnostics.get("steps")
        made = steps if isinstance(steps, int) else 0
        return Answer(apply_update(problem.model, update), made, update.method)

    return correct


def random_mask(problem: Problem, spent: Spent, *, share: float, rate: float) -> Answer:
    """Fifty small steps on scalars drawn at random from the whole network."""
    mask = drawn(problem, share)
    return descend(problem, problem, mask, done=share_of(50), rate=rate, batch=64)


def salient_mask(problem: Problem, spent: Spent) -> Answer:
    """Fifty steps on the scalars of largest gradient on the wrong rows, as SalUn chooses them.

    What the rows are taught instead is known here: the right labels.
    """
    mask = salient(problem, SHARE)
    return descend(problem, problem, mask, done=share_of(50), rate=1e-2, batch=64)


def random_tail(problem: Problem, spent: Spent, *, share: float = SHARE) -> Answer:
    """As ours (rows, layers, steps, step size), but on a mask drawn at random beforehand."""
    names = tail_names(problem.model, budget_count(0.5, problem.parameter_count))
    own = {name: problem.parameters[name] for name in names}
    count = budget_count(share, problem.parameter_count)
    mask = select_extreme(random_scores(own, problem.generator_seed), count).touched()
    part = truncate(problem.with_all_retained(), mask.names)
    return descend(problem, part, mask, done=share_of(spent.steps), rate=RATE, batch=128)


def curved_tail(problem: Problem, spent: Spent) -> Answer:
    """The same on the scalars of largest Newton decrement, chosen beforehand."""
    names = tail_names(problem.model, budget_count(0.5, problem.parameter_count))
    part = truncate(problem.with_all_retained(), names)
    count = budget_count(SHARE, problem.parameter_count)
    mask = select_ranked(part, names, count, "global", 1e-2, Selection({})).selection
    return descend(problem, part, mask, done=share_of(spent.steps), rate=RATE, batch=128)


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
