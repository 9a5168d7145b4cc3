"""Measuring two networks with their shared layers run once."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from app.unlearning.verification import Evaluated, RowSets, observe
from app.unlearning.verification.shared_layers import without_shared_layers

OBJECTIVE = Objective("cross_entropy", 0.0)


class Counting(nn.Module):
    """Passes rows on and counts them, whichever copy of it they go through."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__()
        self.rows = rows

    def __deepcopy__(self, memo: object) -> "Counting":
        return Counting(self.rows)

    def forward(self, inputs: Tensor) -> Tensor:
        self.rows.append(len(inputs))
        return inputs


def networks(changed: str) -> tuple[nn.Sequential, nn.Sequential, list[int]]:
    """A network and a copy with one tensor moved; and the rows that its first layers have seen."""
    torch.manual_seed(0)
    rows: list[int] = []
    before = nn.Sequential(
        nn.Linear(5, 7), Counting(rows), nn.ReLU(), nn.BatchNorm1d(7), nn.Linear(7, 3)
    ).eval()
    after = copy.deepcopy(before)
    after.state_dict()[changed].add_(1)
    return before, after, rows


def drawn(count: int) -> TensorRows:
    generator = torch.Generator().manual_seed(count)
    inputs = torch.randn(count, 5, generator=generator)
    return TensorRows(inputs, torch.randint(3, (count,), generator=generator))


@pytest.mark.parametrize("changed", ["4.bias", "3.running_mean", "0.weight"])
def test_shared_layers_do_not_change_what_is_seen(changed: str) -> None:
    before, after, _ = networks(changed)
    sets = RowSets(forget=drawn(20), retained=drawn(30), holdout=drawn(10))

    tails = without_shared_layers(before, after, sets)

    for whole, tail in zip((before, after), tails[:2], strict=True):
        expected = observe(whole, OBJECTIVE, sets)
        found = observe(tail, OBJECTIVE, tails[2])
        assert expected.keys() == found.keys() == {"forget", "retain", "holdout"}
        for name, wanted in expected.items():
            got = found[name]
            assert isinstance(got, Evaluated)
            assert isinstance(wanted, Evaluated)
            # The same float32 layers on batches of another size.
            assert_close(got.losses, wanted.losses, rtol=1e-5, atol=1e-6)


def test_shared_layers_run_once_for_both_networks_and_for_each_set_of_rows() -> None:
    before, after, rows = networks("4.weight")
    forgotten = drawn(20)
    sets = RowSets(forget=forgotten, holdout=drawn(10), deleted=forgotten)

    old, new, features = without_shared_layers(before, after, sets)
    rows.clear()
    for network in (old, new):
        observe(network, OBJECTIVE, features)

    assert sorted(rows) == [10, 20]


def test_nothing_is_left_out_when_the_first_layer_differs() -> None:
    before, after, _ = networks("0.bias")
    sets = RowSets(forget=drawn(20))

    assert without_shared_layers(before, after, sets) == (before, after, sets)


def test_unchanged_network_is_measured_too() -> None:
    before, _, _ = networks("0.bias")
    sets = RowSets(holdout=drawn(10))

    old, _, features = without_shared_layers(before, copy.deepcopy(before), sets)

    found, wanted = observe(old, OBJECTIVE, features), observe(before, OBJECTIVE, sets)
    assert isinstance(found["holdout"], Evaluated)
    assert isinstance(wanted["holdout"], Evaluated)
    assert_close(found["holdout"].losses, wanted["holdout"].losses, rtol=1e-5, atol=1e-6)


def test_a_layer_that_stands_in_several_places_runs_in_all_of_them() -> None:
    torch.manual_seed(0)
    bend = nn.Tanh()
    before = nn.Sequential(nn.Linear(5, 5), bend, nn.Linear(5, 5), bend, nn.Linear(5, 3)).eval()
    after = copy.deepcopy(before)
    after.state_dict()["4.bias"].add_(1)
    sets = RowSets(forget=drawn(20), retained=drawn(30), holdout=drawn(10))

    one, other, features = without_shared_layers(before, after, sets)

    assert len(one) == len(other) == 1  # type: ignore[arg-type]  # Sequential
    assert features.forget is not None
    seen = features.forget.take(torch.arange(20)).inputs
    for tail, whole in ((one, before), (other, after)):
        assert_close(tail(seen), whole(drawn(20).inputs), rtol=1e-6, atol=1e-7)
