"""Selections: exact sizes, deterministic ties, and nothing outside them touched."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from app.unlearning.errors import NonFinite
from app.unlearning.selection import (
    Budget,
    Selection,
    budget_count,
    decrement_scores,
    last_layer,
    magnitude_scores,
    proportional_quotas,
    random_scores,
    select_extreme,
)

SCORES = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=9), min_size=1, max_size=4)


def tensors(values: list[list[int]]) -> dict[str, Tensor]:
    return {f"t{i}": torch.tensor(v, dtype=torch.float32) for i, v in enumerate(values)}


def flat(selection: Selection) -> list[bool]:
    return torch.cat([mask.flatten() for mask in selection.masks.values()]).tolist()


@given(SCORES, st.integers(0, 40), st.booleans())
def test_a_global_selection_is_the_front_of_a_stable_sort(
    values: list[list[int]], count: int, largest: bool
) -> None:
    scores = [float(v) for row in values for v in row]
    sign = -1 if largest else 1
    order = sorted(range(len(scores)), key=lambda i: (sign * scores[i], i))
    expected = set(order[:count])

    found = flat(select_extreme(tensors(values), count, largest=largest))

    assert {i for i, chosen in enumerate(found) if chosen} == expected


@given(SCORES, st.integers(0, 40), st.sampled_from(["global", "per_layer", "per_tensor"]))
def test_a_selection_has_the_size_asked_for(
    values: list[list[int]], count: int, budget: Budget
) -> None:
    selection = select_extreme(tensors(values), count, budget=budget)
    assert selection.count == min(count, sum(len(row) for row in values))


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.floats(0, 1))
def test_quotas_are_within_one_of_proportional(sizes: list[int], share: float) -> None:
    count = int(share * sum(sizes))
    quotas = proportional_quotas(sizes, count)
    assert sum(quotas) == count
    for size, quota in zip(sizes, quotas, strict=True):
        assert 0 <= quota <= size
        assert abs(quota - count * size / sum(sizes)) < 1


@pytest.mark.parametrize(
    ("fraction", "total", "count"),
    [(0.05, 1000, 50), (0.29, 100, 29), (1.0, 7, 7), (1e-9, 7, 1), (0.0, 7, 0), (0.5, 0, 0)],
)
def test_a_share_becomes_a_count(fraction: float, total: int, count: int) -> None:
    assert budget_count(fraction, total) == count


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(NonFinite) as caught:
        select_extreme({"a": torch.ones(2), "b": torch.tensor([float("nan")])}, 1)
    assert caught.value.name == "b"


def test_gather_undoes_scatter_and_the_rest_is_zero() -> None:
    masks = {"a": torch.tensor([[True, False], [False, True]]), "b": torch.tensor(True)}
    selection = Selection(masks)
    vector = torch.tensor([1.0, 2.0, 3.0])

    full = selection.scatter(vector)

    assert torch.equal(full["a"], torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert torch.equal(selection.gather(full), vector)
    assert selection.count == 3
    with pytest.raises(ValueError, match="3 scalars"):
        selection.scatter(vector[:2])


def test_adding_a_step_keeps_every_other_bit() -> None:
    """Negative zero and the payload of a NaN are the bits arithmetic would lose."""
    old = {"a": torch.tensor([-0.0, float("nan"), 1.0, 5e-324], dtype=torch.float64)}
    selection = Selection({"a": torch.tensor([False, False, True, False])})

    new = selection.add(old, torch.tensor([0.5], dtype=torch.float64))

    same = old["a"].view(torch.int64) == new["a"].view(torch.int64)
    assert same.tolist() == [True, True, False, True]
    assert new["a"][2] == 1.5


def test_the_decrement_is_what_one_scalar_alone_can_gain() -> None:
    """On a separable quadratic the decrease by the exact minimiser is half of g^2 / h."""
    h = torch.tensor([4.0, 0.5, 2.0])
    theta = torch.tensor([1.0, -2.0, 0.25])
    g = h * theta

    scores = decrement_scores({"w": g}, {"w": h}, 0.0)["w"]

    assert torch.allclose(scores / 2, 0.5 * h * theta**2)


def test_negative_curvature_counts_as_none() -> None:
    scores = decrement_scores({"w": torch.tensor([1.0])}, {"w": torch.tensor([-5.0])}, 0.5)
    assert scores["w"].item() == 2.0


def test_controls_are_reproducible_and_what_they_say() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1))
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    first, second, other = (random_scores(parameters, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in parameters)
    assert not torch.equal(first["0.weight"], other["0.weight"])
    assert last_layer(model).names == ("2.weight", "2.bias")
    assert last_layer(model).count == 10
    assert magnitude_scores({"w": torch.tensor([-2.0])})["w"].item() == 2.0


def test_a_layer_shares_its_budget_among_its_tensors() -> None:
    scores = {
        "body.weight": torch.arange(6.0).view(2, 3),
        "body.bias": torch.tensor([90.0, -1.0]),
        "head.weight": 1000 + torch.arange(8.0),
    }
    chosen = select_extreme(scores, 6, budget="per_layer")
    # Three of the eight scalars of each layer, however much larger the scores of one are.
    assert flat(Selection({n: chosen.masks[n] for n in ("body.weight", "body.bias")})) == [
        *[False, False, False, False, True, True],
        *[True, False],
    ]
    assert flat(Selection({"head.weight": chosen.masks["head.weight"]})) == [False] * 5 + [True] * 3
    alone = select_extreme(scores, 6, budget="per_tensor")
    assert [int(alone.masks[name].sum()) for name in scores] == [2, 1, 3]
