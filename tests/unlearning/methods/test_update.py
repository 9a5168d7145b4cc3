"""Applying updates and counting what changed, by bits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.errors import NonFinite
from app.unlearning.methods import Influence, Saps, SparseNewton
from app.unlearning.problem import Kind
from app.unlearning.rows import TensorRows
from app.unlearning.update import apply_update, changed_only, changed_scalars
from tests.unlearning.methods.problems import KINDS, flat, network, ridge


def test_scalars_are_compared_by_bits() -> None:
    old, new = nn.Linear(3, 1, bias=False), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        old.weight.copy_(torch.tensor([[0.0, float("nan"), 1.0]]))
        new.weight.copy_(torch.tensor([[-0.0, float("nan"), 1.0 + 2**-23]]))
    assert changed_scalars(old, new) == 2
    assert changed_scalars(old, old) == 0
    with pytest.raises(ValueError, match="different parameters"):
        changed_scalars(old, nn.Linear(3, 2, bias=False))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unchanged_tensors_are_left_out(dtype: torch.dtype) -> None:
    old = {"a": torch.ones(2, dtype=dtype), "b": torch.zeros(2, dtype=dtype)}
    new = {"a": torch.ones(2, dtype=dtype), "b": torch.tensor([0.0, -0.0], dtype=dtype)}
    assert list(changed_only(old, new)) == ["b"]


def test_values_that_are_not_finite_are_refused() -> None:
    old = {"a": torch.ones(2)}
    with pytest.raises(NonFinite):
        changed_only(old, {"a": torch.tensor([1.0, float("inf")])})


def test_an_update_makes_a_new_network() -> None:
    problem, _, _ = ridge("deletion")
    update = Influence().unlearn(problem)
    before = problem.model.state_dict()["weight"].clone()

    result = apply_update(problem.model, update)

    assert torch.equal(problem.model.state_dict()["weight"], before)
    assert changed_scalars(problem.model, result) == 6
    for wrong in ({"weight": torch.zeros(1, 4)}, {"wieght": torch.zeros(1, 5)}):
        with pytest.raises(ValueError, match="does not fit"):
            apply_update(problem.model, replace(update, values=wrong))


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_moves_nothing_is_idle(kind: Kind) -> None:
    problem = network(kind)
    assert Saps(fraction=0.0).unlearn(problem).is_idle
    moved = SparseNewton(fraction=0.2).unlearn(problem)
    assert moved.values
    assert not moved.is_idle


def test_an_optimum_that_rows_did_not_move_is_no_idleness() -> None:
    """Rows on the plane that least squares fits leave it where it is, and so does their removal."""
    problem, X, _ = ridge("deletion", decay=0.0, affected=0)
    theta = flat(problem.model)
    on_the_plane = TensorRows(X[:2], X[:2] @ theta[:-1] + theta[-1])
    update = Influence().unlearn(replace(problem, forget=on_the_plane))
    assert not update.values
    assert update.diagnostics["converged"] is True
    assert not update.is_idle
