"""Greedy choice of scalars, against the same choice made the slow way."""

import pytest
import torch
from torch import Tensor

from app.unlearning.methods import make_method
from app.unlearning.selection import greedy_positions, proportional_quotas
from app.unlearning.update import apply_update
from tests.unlearning.methods.problems import network


def quadratic(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A correlated positive definite block and a gradient."""
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(size, 2 * size, generator=draw, dtype=torch.float64)
    root += 2 * torch.randn(1, 2 * size, generator=draw, dtype=torch.float64)
    return root @ root.t() / size, torch.randn(size, generator=draw, dtype=torch.float64)


def gain(block: Tensor, gradient: Tensor, chosen: list[int]) -> float:
    """Twice what the quadratic model loses by its minimisation over some scalars."""
    part = gradient[chosen]
    return float(part @ torch.linalg.solve(block[chosen][:, chosen], part))


@pytest.mark.parametrize("seed", range(5))
def test_each_choice_gains_the_most_beside_those_before(seed: int) -> None:
    block, gradient = quadratic(20, seed)

    chosen = greedy_positions(block, gradient, 8).tolist()

    for step, choice in enumerate(chosen):
        before = chosen[:step]
        gains = {i: gain(block, gradient, [*before, i]) for i in range(20) if i not in before}
        assert gains[choice] == pytest.approx(max(gains.values()), rel=1e-9)


def test_scalars_that_gain_the_same_are_not_chosen_together() -> None:
    features = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.001, 0.1], [0.0, 0.0, 0.5]]).double()
    block = features.t() @ features + 1e-6 * torch.eye(3)
    gradient = features.t() @ torch.tensor([1.0, 1.0, 0.3]).double()
    decrement = gradient.square() / block.diagonal()

    assert sorted(decrement.topk(2).indices.tolist()) == [0, 1]
    assert 2 in greedy_positions(block, gradient, 2).tolist()


def test_kept_scalars_come_first_and_quotas_hold() -> None:
    block, gradient = quadratic(12, 0)
    kept = torch.zeros(12, dtype=torch.bool)
    kept[[3, 7]] = True
    groups = torch.tensor([0] * 6 + [1] * 6)

    chosen = greedy_positions(block, gradient, 9, kept=kept, groups=groups, quotas=[2, 4]).tolist()

    assert sorted(chosen[:2]) == [3, 7]
    assert len(chosen) == len(set(chosen)) == 6
    assert sum(i < 6 for i in chosen) == 2


def test_all_of_a_singular_block_can_be_chosen() -> None:
    block = torch.ones(4, 4, dtype=torch.float64)
    gradient = torch.tensor([1.0, 2.0, 1.0, 0.0]).double()

    assert sorted(greedy_positions(block, gradient, 10).tolist()) == [0, 1, 2, 3]
    assert not len(greedy_positions(block, gradient, 0))


@pytest.mark.parametrize("budget", ["global", "per_tensor"])
def test_a_network_is_updated_within_the_budget(budget: str) -> None:
    problem = network("label_correction")
    count = int(0.1 * problem.parameter_count)

    update = make_method(
        "sparse_newton",
        {"fraction": 0.1, "select": "greedy", "budget": budget, "scope": "all"},
    ).unlearn(problem)

    assert update.selected == count
    changed = apply_update(problem.model, update)
    differing = {
        name: int((new != old).sum())
        for (name, new), old in zip(
            changed.named_parameters(), problem.model.parameters(), strict=True
        )
    }
    assert 0 < sum(differing.values()) <= count
    if budget == "per_tensor":
        sizes = [p.numel() for p in problem.model.parameters()]
        quotas = proportional_quotas(sizes, count)
        assert all(d <= q for d, q in zip(differing.values(), quotas, strict=True))
    after, before = (
        update.diagnostics["edited_loss_after"],
        update.diagnostics["edited_loss_before"],
    )
    assert isinstance(after, float)
    assert isinstance(before, float)
    assert after < before
