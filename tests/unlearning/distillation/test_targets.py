"""Targets solve scalar equations, which brute force solves too."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from app.unlearning.distillation.answers import evaluated
from app.unlearning.distillation.targets import (
    LARGEST_LIFT,
    LARGEST_SHIFT,
    Guard,
    lift_until,
    lowered,
    raised,
    shift_until,
    stretched,
    temperature_at,
    temperature_beside,
)


def answers(rows: int, seed: int, scale: float = 2.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(rows, 4, generator=draw)).log_softmax(1)


def classes(rows: int, seed: int) -> Tensor:
    return torch.randint(0, 4, (rows,), generator=torch.Generator().manual_seed(seed))


def mean_loss(logs: Tensor, labels: Tensor) -> float:
    return float(functional.nll_loss(logs.double(), labels))


def test_the_lift_is_where_brute_force_finds_it() -> None:
    logs, labels = answers(50, 1), classes(50, 2)
    wanted = mean_loss(logs, labels) + 0.7

    def holds(x: Tensor) -> bool:
        return mean_loss(x, labels) >= wanted

    found = lift_until(holds, logs, labels)

    grid = [i / 2000 for i in range(12_001)]
    first = next(d for d in grid if holds(lowered(logs, labels, d)))
    assert found == pytest.approx(first, abs=1e-3)
    assert mean_loss(lowered(logs, labels, found), labels) == pytest.approx(wanted, abs=1e-3)


def test_raising_adds_exactly_that_much_to_the_odds_of_a_class() -> None:
    logs = answers(5, 3)
    high = raised(logs, torch.tensor([False, True, False, False]), 1.5)
    torch.testing.assert_close(high[:, 1] - high[:, 0], logs[:, 1] - logs[:, 0] + 1.5)
    torch.testing.assert_close(high[:, 2] - high[:, 0], logs[:, 2] - logs[:, 0])
    torch.testing.assert_close(high.exp().sum(1), torch.ones(5))


def test_the_shift_is_the_least_that_will_do() -> None:
    assert shift_until(lambda d: d >= 0.7) == pytest.approx(0.7, abs=1e-4)
    assert shift_until(lambda _: True) == 0.0
    assert shift_until(lambda _: False) == LARGEST_SHIFT


def test_lowering_takes_exactly_that_much_from_the_odds_of_the_true_class() -> None:
    logs, labels = answers(5, 3), classes(5, 4)
    low = lowered(logs, labels, 1.5)
    rows = torch.arange(5)
    other = (labels + 1) % 4
    before = logs[rows, labels] - logs[rows, other]
    torch.testing.assert_close(low[rows, labels] - low[rows, other], before - 1.5)
    torch.testing.assert_close(low.exp().sum(1), torch.ones(5))


def test_no_lift_where_the_claim_holds_and_the_largest_where_it_never_does() -> None:
    logs, labels = answers(5, 3), classes(5, 4)
    assert lift_until(lambda _: True, logs, labels) == 0.0
    assert lift_until(lambda _: False, logs, labels) == LARGEST_LIFT


def test_the_guard_lets_through_what_is_as_hard_as_unseen_rows_and_lifts_what_is_easier() -> None:
    held, held_labels = answers(400, 5), classes(400, 6)
    guard = Guard(evaluated(held, held_labels), torch.ones(400, dtype=torch.float64), 1.0)
    alike, labels = answers(200, 7), classes(200, 8)
    assert guard.holds(lowered(alike, labels, 0.3), labels)
    known = lowered(alike, labels, -3.0)  # the true class gains: rows look trained on
    assert not guard.holds(known, labels)
    lift = lift_until(lambda x: guard.holds(x, labels), known, labels)
    assert 1.5 < lift < 3.5
    assert guard.holds(lowered(known, labels, lift), labels)
    assert not guard.holds(lowered(known, labels, lift - 0.01), labels)


def test_the_temperature_brings_the_loss_to_the_level_on_the_confident_side() -> None:
    held, labels = answers(500, 9, scale=1.0), classes(500, 9)
    held = lowered(held, labels, -1.5)
    weights = torch.ones(500, dtype=torch.float64)

    def at(temperature: float) -> float:
        return mean_loss((held.double() / temperature).log_softmax(1), labels)

    grid = [0.2 + 0.001 * i for i in range(5800)]
    best = min(grid, key=at)
    level = 0.5 * (at(best) + at(0.2))
    found = temperature_at(held, labels, weights, level)
    assert found < best
    assert at(found) == pytest.approx(level, abs=1e-2)
    # Out of reach: the least loss there is.
    assert at(temperature_at(held, labels, weights, 0.5 * at(best))) == pytest.approx(
        at(best), abs=1e-3
    )


def test_a_reference_that_is_the_network_cooled_is_heated_to_it() -> None:
    network, labels = answers(800, 11, scale=3.0), classes(800, 12)
    network = lowered(network, labels, -4.0)
    reference = (network * 0.4).log_softmax(1)
    none = torch.zeros(4, dtype=torch.bool)
    assert temperature_beside(reference, network, labels, none) == pytest.approx(0.4, rel=0.02)


def test_what_a_class_lost_does_not_pass_for_confidence() -> None:
    network, labels = answers(800, 11, scale=3.0), classes(800, 12)
    network = lowered(network, labels, -4.0)
    fewer = torch.tensor([0.0, 0.0, -3.0, 0.0])  # class 2 is predicted less often
    reference = ((network + fewer) * 0.4).log_softmax(1)
    hit = torch.tensor([False, False, True, False])
    assert temperature_beside(reference, network, labels, hit) == pytest.approx(0.4, rel=0.02)
    assert temperature_beside(reference, network, labels, ~hit & hit) > 0.5


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), drop=st.floats(0.01, 5), steps=st.integers(2, 6))
def test_stretching_moves_the_mean_forget_loss_monotonically(
    seed: int, drop: float, steps: int
) -> None:
    origin, labels = answers(20, seed).double(), classes(20, seed + 1)
    wanted = lowered(origin, labels, drop)
    factors = [-0.5 + 1.5 * i / steps for i in range(steps + 1)]
    losses = [mean_loss(stretched(wanted, origin, f), labels) for f in factors]
    assert all(one < other for one, other in pairwise(losses))


def test_stretching_by_nothing_and_back_are_what_they_say() -> None:
    origin, wanted = answers(6, 1), answers(6, 2)
    torch.testing.assert_close(stretched(wanted, origin, 0.0), wanted)
    torch.testing.assert_close(stretched(wanted, origin, -1.0), origin)
