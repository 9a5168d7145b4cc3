"""Applying updates and counting what changed, by bits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.errors import NonFinite
from app.unlearning.methods import Influence
from app.unlearning.update import apply_update, changed_only, changed_scalars
from tests.unlearning.methods.problems import ridge


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
