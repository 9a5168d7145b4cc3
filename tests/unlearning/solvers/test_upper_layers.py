"""A selection in the upper layers costs no backward pass through the lower ones.

Networks that are no plain sequence of layers, such as transformers, are not cut in two; what is
saved there is saved by differentiating only as far down as the lowest selected tensor.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from app.unlearning.edited_loss import EditedLoss, correction_gradient
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows
from app.unlearning.selection import Selection
from app.unlearning.solvers import captured_block, ggn_vector_product
from tests.unlearning.curvature.language_models import Gpt, transformer


@contextmanager
def gradients_seen(modules: dict[str, nn.Module]) -> Iterator[set[str]]:
    """Collect the names of the modules whose outputs a gradient is computed for."""
    seen: set[str] = set()

    def listen(name: str) -> Callable[..., None]:
        def forward(_: nn.Module, inputs: object, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(lambda _: seen.add(name))

        return forward

    hooks = [m.register_forward_hook(listen(name)) for name, m in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def problem_of() -> Problem:
    """A language model with three of five rows to forget."""
    case = transformer("gpt")
    part = [case.rows.take(p) for p in (torch.arange(3), torch.arange(3, 5))]
    forget, retained = (TensorRows(b.inputs, b.targets) for b in part)
    return Problem(
        case.model, case.objective, "label_correction", forget, forget, retained, retained_total=2
    )


def by_gradient(problem: Problem, selection: Selection) -> None:
    EditedLoss(problem).gradient({n: problem.parameters[n] for n in selection.names})


def by_gamma(problem: Problem, selection: Selection) -> None:
    correction_gradient(problem, {n: problem.parameters[n] for n in selection.names})


def by_product(problem: Problem, selection: Selection) -> None:
    product = ggn_vector_product(problem.model, problem.objective, problem.edited, selection)
    product(torch.ones(selection.count, dtype=torch.float64))


def by_block(problem: Problem, selection: Selection) -> None:
    captured_block(problem.model, problem.objective, problem.edited, selection)


@pytest.mark.parametrize("work", [by_gradient, by_gamma, by_product, by_block])
def test_nothing_is_back_propagated_below_the_selection(
    work: Callable[[Problem, Selection], None],
) -> None:
    problem = problem_of()
    model = problem.model
    assert isinstance(model, Gpt)
    lower, upper = model.blocks
    modules = {"tokens": model.tokens, "lower": lower, "upper": upper, "head": model.head}

    def reached(*starts: str) -> set[str]:
        names = [n for n in problem.parameters if n.startswith(starts)]
        masks = {n: torch.zeros_like(problem.parameters[n], dtype=torch.bool) for n in names}
        for mask in masks.values():
            mask.view(-1)[0] = True
        with gradients_seen(modules) as seen:
            work(problem, Selection(masks))
        return seen

    assert reached("head") <= {"head"}
    assert "upper" in reached("blocks.1") <= {"upper", "head"}
    assert "lower" in reached("blocks.0", "head") <= {"lower", "upper", "head"}
