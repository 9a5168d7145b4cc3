"""What no method may depend on: how rows are cut, their order, and the units of the loss.

In float64, so that what is left is rounding. Mini-batches are drawn by position: methods that draw
them cannot be free of the order, and are held to it where a batch takes all rows. Retraining has a
learning rate in the units of the loss, and what is certified has constants of the loss.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.unlearning.double_precision import Float64Rows, in_float64
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import CappedRows, Rows, TensorRows
from app.unlearning.update import JSON, apply_update
from tests.unlearning.certified.trained import Case
from tests.unlearning.methods.problems import flat, network

Variant = tuple[str, dict[str, JSON]]
ALL_ROWS = 120

BY_CURVATURE: dict[str, Variant] = {
    "influence": ("influence", {}),
    "influence, first order": ("influence", {"order": "first", "steps": 3}),
    "influence, exact": ("influence", {"solver": "exact"}),
    "influence, lissa": ("influence", {"solver": "lissa", "recursions": 15}),
    "saps": ("saps", {"fraction": 0.1}),
    "saps, smallest": ("saps", {"fraction": 0.3, "select": "smallest", "order": "first"}),
    "saps, per tensor": ("saps", {"fraction": 0.2, "budget": "per_tensor", "steps": 2}),
    "sparse_newton, block": ("sparse_newton", {"fraction": 0.1, "iterations": 3}),
    "sparse_newton, lbfgs": ("sparse_newton", {"solver": "lbfgs", "iterations": 6}),
    "sparse_newton, again": ("sparse_newton", {"reselections": 2, "iterations": 2}),
    "random_mask": ("random_mask", {"fraction": 0.1}),
    "last_layer": ("last_layer", {"solver": "lbfgs"}),
}
ALL_AT_ONCE: dict[str, Variant] = {
    "sparse_newton, adam": (
        "sparse_newton",
        {"solver": "adam", "batch_size": ALL_ROWS, "iterations": 10},
    ),
    "fine_tune": ("fine_tune", {"batch_size": ALL_ROWS, "epochs": 5.0}),
    "shrinking_mask": (
        "shrinking_mask",
        {"batch_size": ALL_ROWS, "steps": 15, "fraction": 0.1, "effort": 1.0},
    ),
}
MINI_BATCHES: dict[str, Variant] = {
    "fine_tune, mini-batches": ("fine_tune", {"epochs": 1.0}),
    "sparse_newton, mini-batches": ("sparse_newton", {"solver": "adam", "iterations": 10}),
    "shrinking_mask, mini-batches": ("shrinking_mask", {"steps": 15, "fraction": 0.1}),
    "retrain": ("retrain", {}),
    "reference_distillation": ("reference_distillation", {"steps": 20, "refuse_above": None}),
}
CERTIFIED: dict[str, Variant] = {
    name: (name, {}) for name in ("certified_descent", "certified_removal", "certified_update")
}
EVERYTHING = BY_CURVATURE | ALL_AT_ONCE | MINI_BATCHES | CERTIFIED
FULL_BATCH = Recipe("lbfgs", 0.1, batch_size=ALL_ROWS, epochs=4, initialisation_seed=4)


def problem_for(name: str) -> Problem:
    """A network in float64, or a linear model for the methods that prove something."""
    deletes = name in ("reference_distillation", "certified_removal")
    kind: Kind = "deletion" if deletes else "label_correction"
    if name in CERTIFIED:
        case = Case(rows=ALL_ROWS, decay=0.5)
        return case.problem(torch.arange(30), torch.arange(30, ALL_ROWS), kind=kind)
    problem = in_float64(network(kind))
    assert problem.holdout is not None
    retained, holdout = problem.retained, Float64Rows(problem.holdout)
    return replace(problem, holdout=holdout, full_retained=lambda: retained)


def with_rows(problem: Problem, change: Callable[[Rows, int], Rows]) -> Problem:
    """The same problem with each set of rows changed; the number tells the sets apart.

    Old and corrected rows have the same number: they go together.
    """
    retained = change(problem.retained, 0)
    holdout = None if problem.holdout is None else change(problem.holdout, 2)
    replacement = problem.replacement
    return replace(
        problem,
        retained=retained,
        full_retained=lambda: retained,
        untouched=None if problem.untouched is None else lambda: retained,
        forget=change(problem.forget, 1),
        replacement=change(replacement, 1) if len(replacement) else replacement,
        holdout=holdout,
    )


def moved(problem: Problem, variant: Variant) -> Tensor:
    """What a method adds to the parameters, in one vector."""
    name, parameters = variant
    update = make_method(name, parameters).unlearn(problem)
    return flat(apply_update(problem.model, update)) - flat(problem.model)


def require_same(one: Tensor, other: Tensor) -> None:
    """Two moves are far longer than what they are apart by."""
    assert float(one.norm()) > 1e-4
    # Rounding of one part in 1e16, as a few iterations of a badly scaled problem magnify it.
    assert float((one - other).norm()) <= 1e-6 * float(one.norm())


@pytest.mark.parametrize("name", EVERYTHING)
@given(most=st.integers(5, 60))
@settings(max_examples=2, deadline=None)
def test_how_rows_are_cut_into_batches_does_not_matter(name: str, most: int) -> None:
    problem = problem_for(name)

    cut = with_rows(problem, lambda rows, _: CappedRows(rows, most))

    require_same(moved(problem, EVERYTHING[name]), moved(cut, EVERYTHING[name]))


@pytest.mark.parametrize("name", [*BY_CURVATURE, *ALL_AT_ONCE, *CERTIFIED, "retrain"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=2, deadline=None)
def test_the_order_of_the_rows_does_not_matter(name: str, seed: int) -> None:
    problem = problem_for(name)
    if name == "retrain":
        problem = replace(problem, recipe=FULL_BATCH)

    def shuffle(rows: Rows, which: int) -> Rows:
        generator = torch.Generator().manual_seed(seed + which)
        batch = rows.take(torch.randperm(len(rows), generator=generator))
        return TensorRows(batch.inputs, batch.targets)

    require_same(
        moved(problem, EVERYTHING[name]), moved(with_rows(problem, shuffle), EVERYTHING[name])
    )


@dataclass(frozen=True)
class InOtherUnits(Objective):
    """The same objective times a factor, such as a sum in place of a mean."""

    factor: float = 1.0

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.factor * super().losses(outputs, targets)

    def output_gradient(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.factor * super().output_gradient(outputs, targets)

    def root_columns(self, outputs: Tensor, targets: Tensor | None = None) -> Iterator[Tensor]:
        for column in super().root_columns(outputs, targets):
            yield self.factor**0.5 * column

    def root_draw(self, outputs: Tensor, signs: Tensor, targets: Tensor | None = None) -> Tensor:
        return self.factor**0.5 * super().root_draw(outputs, signs, targets)

    def output_curvature_product(
        self, outputs: Tensor, change: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        return self.factor * super().output_curvature_product(outputs, change, targets)


def in_other_units(problem: Problem, factor: float) -> Problem:
    """The same problem with loss and weight decay times a factor."""
    own = problem.objective
    return replace(problem, objective=InOtherUnits(own.name, own.weight_decay * factor, factor))


@pytest.mark.parametrize("name", BY_CURVATURE)
@given(factor=st.sampled_from([1e-3, 0.37, 120.0, 1e4]))
@settings(max_examples=2, deadline=None)
def test_the_units_of_the_loss_do_not_matter(name: str, factor: float) -> None:
    problem = problem_for(name)
    scaled = in_other_units(problem, factor)
    require_same(moved(problem, EVERYTHING[name]), moved(scaled, EVERYTHING[name]))


@pytest.mark.parametrize("name", [*ALL_AT_ONCE, "reference_distillation"])
def test_adam_knows_the_units_of_the_loss_by_its_epsilon_alone(name: str) -> None:
    problem = problem_for(name)
    small, large = (
        moved(in_other_units(problem, factor), EVERYTHING[name]) for factor in (1e6, 1e8)
    )
    # The smallest gradients, of the weight decay, are of the order 1e-6 before they are multiplied.
    require_same(small, large)
