"""The membership AUC is the share of pairs the attack orders right."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.unlearning.errors import NotApplicable
from app.unlearning.verification import bootstrap, membership
from app.unlearning.verification.bootstrap import percentile_interval
from app.unlearning.verification.evaluation import Evaluated
from app.unlearning.verification.intervals import clopper_pearson
from app.unlearning.verification.membership import (
    area_difference_interval,
    area_interval,
    match,
    membership_auc,
    resampled_aucs,
)


def evaluated(losses: list[float], labels: list[int] | None = None) -> Evaluated:
    given_labels = None if labels is None else torch.tensor(labels)
    return Evaluated(torch.tensor(losses, dtype=torch.float64), None, given_labels)


def auc(forgotten: Evaluated, heldout: Evaluated) -> float:
    return membership_auc(forgotten, heldout, match(forgotten, heldout))


def by_counting_pairs(forgotten: list[tuple[int, int]], heldout: list[tuple[int, int]]) -> float:
    """Count all pairs, the slow way: (loss, label) each."""
    members = [row for row in forgotten if any(row[1] == other[1] for other in heldout)]
    won = total = 0.0
    for loss, _ in members:
        for other, label in heldout:
            same_class = sum(other_label == label for _, other_label in heldout)
            weight = sum(member_label == label for _, member_label in members) / same_class
            total += weight
            won += weight * (1.0 if loss < other else 0.5 if loss == other else 0.0)
    return won / total


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(pairs, pairs)
def test_it_is_the_weighted_share_of_pairs(
    forgotten: list[tuple[int, int]], heldout: list[tuple[int, int]]
) -> None:
    left = evaluated([float(x) for x, _ in forgotten], [label for _, label in forgotten])
    right = evaluated([float(x) for x, _ in heldout], [label for _, label in heldout])
    if not {label for _, label in forgotten} & {label for _, label in heldout}:
        with pytest.raises(NotApplicable):
            match(left, right)
        return
    assert auc(left, right) == pytest.approx(by_counting_pairs(forgotten, heldout), abs=1e-12)


def test_it_is_not_folded() -> None:
    low, high = evaluated([0.1, 0.2], [0, 0]), evaluated([1.0, 2.0], [0, 0])
    assert auc(low, high) == 1.0
    assert auc(high, low) == 0.0
    assert auc(low, low) == 0.5


def test_a_class_that_is_always_hard_is_no_sign_of_membership() -> None:
    generator = torch.Generator().manual_seed(0)

    def rows(counts: list[int]) -> Evaluated:
        labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
        noise = torch.rand(len(labels), generator=generator, dtype=torch.float64)
        return Evaluated(noise + 2 * labels, None, labels)

    forgotten, heldout = rows([1000, 100]), rows([400, 3000])
    assert auc(forgotten, heldout) == pytest.approx(0.5, abs=0.05)
    bare = Evaluated(forgotten.losses), Evaluated(heldout.losses)
    assert auc(*bare) > 0.8


def test_resampling_is_repeating_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    left = evaluated(
        torch.randint(6, (9,), generator=generator).tolist(), [0, 0, 0, 1, 1, 1, 2, 2, 2]
    )
    right = evaluated(
        torch.randint(6, (14,), generator=generator).tolist(), [0] * 5 + [1] * 6 + [2] * 3
    )
    drawn: list[torch.Tensor] = []
    original = bootstrap.draw_counts

    def remembered(*arguments: int | torch.Generator) -> torch.Tensor:
        drawn.append(original(*arguments))  # type: ignore[arg-type] # passed through
        return drawn[-1]

    monkeypatch.setattr(membership, "draw_counts", remembered)
    areas = resampled_aucs([(left, right)], match(left, right), seed=0, resamples=30)[:, 0]

    def repeated(rows: Evaluated, counts: torch.Tensor) -> list[tuple[int, int]]:
        assert rows.labels is not None
        chosen = torch.repeat_interleave(torch.arange(len(rows)), counts.long())
        return [(int(rows.losses[i]), int(rows.labels[i])) for i in chosen]

    expected = [
        by_counting_pairs(repeated(left, a), repeated(right, b))
        for a, b in zip(*drawn, strict=True)
    ]
    torch.testing.assert_close(areas, torch.tensor(expected, dtype=torch.float64))


def test_intervals_cover_the_true_area_about_as_often_as_promised() -> None:
    generator = torch.Generator().manual_seed(2)
    trials, covered = 200, 0
    true = float(torch.special.ndtr(torch.tensor(0.8 / 2**0.5)))  # P(N(0,1) < N(0.8,1))
    for seed in range(trials):
        left = Evaluated(torch.randn(40, generator=generator, dtype=torch.float64))
        right = Evaluated(torch.randn(200, generator=generator, dtype=torch.float64) + 0.8)
        resampled = resampled_aucs([(left, right)], match(left, right), seed, 500)
        low, high = percentile_interval(resampled[:, 0])
        covered += low <= true <= high
    assert 0.88 <= covered / trials <= 0.99


@pytest.mark.parametrize(("forgotten", "heldout"), [(2, 50), (5, 5), (5, 100)])
@pytest.mark.parametrize("apart", [0.0, 0.8])
def test_intervals_of_few_rows_cover_the_true_area_too(
    forgotten: int, heldout: int, apart: float
) -> None:
    generator = torch.Generator().manual_seed(forgotten)
    trials, covered = 200, 0
    true = float(torch.special.ndtr(torch.tensor(apart / 2**0.5)))
    for seed in range(trials):
        left = Evaluated(torch.randn(forgotten, generator=generator, dtype=torch.float64))
        right = Evaluated(torch.randn(heldout, generator=generator, dtype=torch.float64) + apart)
        matching = match(left, right)
        resampled = resampled_aucs([(left, right)], matching, seed, 500)[:, 0]
        area = membership_auc(left, right, matching)
        low, high = area_interval(area, resampled, matching.rows)
        assert 0.0 <= low <= area <= high <= 1.0
        covered += low <= true <= high
    # Plain resampling of two rows covers it six times in ten, of five rows eight in ten.
    assert covered / trials >= 0.9


def test_a_single_row_says_nothing_of_membership() -> None:
    for area in (0.0, 0.4, 1.0):
        resampled = torch.full((20,), area, dtype=torch.float64)
        assert area_interval(area, resampled, 1) == (0.0, 1.0)
        assert area_difference_interval(0.0, resampled - area, 1) == (-1.0, 1.0)


def test_a_perfect_separation_of_few_rows_may_be_chance() -> None:
    ones = torch.ones(20, dtype=torch.float64)
    assert area_interval(1.0, ones, 5) == clopper_pearson(5, 5)
    assert area_interval(0.0, ones - 1, 5) == clopper_pearson(0, 5)
    assert area_interval(0.5, ones / 2, 4) == clopper_pearson(2, 4)


def test_networks_are_compared_on_the_same_resamples() -> None:
    generator = torch.Generator().manual_seed(3)
    left = Evaluated(torch.rand(30, generator=generator, dtype=torch.float64))
    right = Evaluated(torch.rand(60, generator=generator, dtype=torch.float64))
    twice = resampled_aucs([(left, right), (left, right)], match(left, right), seed=0)
    assert torch.equal(twice[:, 0], twice[:, 1])
