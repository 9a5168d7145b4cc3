"""Controls: rivals at equal cost, measured beside the result and never published.

``fine_tune`` spends as many row gradients as the method did, ``random_mask`` may change as many
scalars, ``last_layer`` only the last layer with parameters. Doing nothing, the cheapest rival, is
``before`` in every measurement.
"""

from collections.abc import Callable

from app.unlearning.methods import make_method
from app.unlearning.problem import Problem
from app.unlearning.update import JSON, Update

PARAMETERS: dict[str, Callable[[Problem, Update], dict[str, JSON]]] = {
    "fine_tune": lambda _, update: {"gradient_budget": max(1, update.gradient_evaluations)},
    "random_mask": lambda problem, update: {
        "fraction": update.selected / max(1, problem.parameter_count)
    },
    "last_layer": lambda *_: {},
}


def run_control(name: str, problem: Problem, update: Update) -> Update:
    """Return what a control arrives at.

    Args:
        name: ``fine_tune``, ``random_mask`` or ``last_layer``.
        problem: The problem of the job.
        update: What the method did; its cost or size is matched.

    Returns:
        The control's own update.

    Raises:
        KeyError: There is no such control.
    """
    return make_method(name, PARAMETERS[name](problem, update)).unlearn(problem)
