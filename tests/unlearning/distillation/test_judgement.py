"""J against numbers worked out by hand."""

import pytest
import torch

from app.unlearning.distillation.class_mix import class_mix
from app.unlearning.distillation.judgement import Figures, Judgement, doubted, figures_of, judge
from app.unlearning.verification.evaluation import Evaluated

OLD = Figures(0.1, 1.0, 0.70, 0.90)
WANTED = Figures(1.1, 0.8, 0.50, 0.90)


def test_each_distance_is_in_units_of_what_may_be_missed() -> None:
    found = judge(Figures(0.95, 0.83, 0.515, 0.895), OLD, WANTED, forgotten=200, held_out=2000)
    assert found.forget_loss == pytest.approx(0.15 / (0.3 * 1.0))
    assert found.forget_accuracy == pytest.approx(0.03 / (0.3 * 0.2))
    assert found.membership_auc == pytest.approx(0.015 / 0.03)
    assert found.holdout_accuracy == pytest.approx(0.005 / 0.01)
    assert found.value == pytest.approx(0.5)


def test_better_held_out_accuracy_is_no_distance() -> None:
    found = judge(Figures(1.1, 0.8, 0.5, 0.95), OLD, WANTED, forgotten=200, held_out=2000)
    assert found.value == 0.0


def test_doing_nothing_is_judged_at_the_inverse_of_the_share_of_the_gap() -> None:
    found = judge(OLD, OLD, WANTED, forgotten=200, held_out=2000)
    assert found.forget_loss == pytest.approx(1 / 0.3)
    assert found.forget_accuracy == pytest.approx(1 / 0.3)
    assert found.membership_auc == pytest.approx(0.2 / 0.03)
    assert found.value == pytest.approx(0.2 / 0.03)


def test_small_gaps_and_few_rows_are_not_held_to_finer_than_can_be_told() -> None:
    close = Figures(0.11, 0.999, 0.70, 0.90)
    found = judge(OLD, OLD, close, forgotten=1000, held_out=2000)
    assert found.forget_loss == pytest.approx(0.01 / (0.3 * 0.05))
    assert found.forget_accuracy == pytest.approx(0.001 / (0.3 * 0.03))
    few = judge(Figures(1.1, 0.9, 0.6, 0.85), OLD, WANTED, forgotten=10, held_out=20)
    assert few.forget_accuracy == pytest.approx(0.1 / 0.1)
    assert few.membership_auc == pytest.approx(0.1 / 0.1)
    assert few.holdout_accuracy == pytest.approx(0.05 / 0.05)


def test_figures_of_two_deleted_and_three_held_out_rows() -> None:
    forget = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).log()
    holdout = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.5, 0.5]]).log()
    found = figures_of(forget, torch.tensor([0, 0]), holdout, torch.tensor([0, 0, 1]))
    assert found.forget_loss == pytest.approx(-0.5 * (torch.tensor([0.9, 0.4]).log().sum()))
    assert found.forget_accuracy == 0.5
    # Held-out rows of class 0 have losses -log 0.8 and -log 0.3; of four pairs three are won.
    assert found.membership_auc == pytest.approx(0.75)
    assert found.holdout_accuracy == pytest.approx(1 / 3)


def test_a_class_that_loses_half_is_hit_and_random_rows_hit_none() -> None:
    retained = torch.arange(4).repeat(100)
    holdout = torch.tensor([0, 0, 1, 2, 3])
    half = class_mix(torch.full((100,), 2), retained, holdout, 4, retained_weight=1.0)
    assert half.hard.tolist() == [False, False, True, False]
    assert half.biased
    assert half.weights.tolist() == [0, 0, 0, 100, 0]
    assert half.effective_rows == 1.0
    spread = class_mix(torch.arange(4).repeat(10), retained, holdout, 4, retained_weight=2.0)
    assert not spread.biased
    assert spread.weights.tolist() == [5, 5, 10, 10, 10]


def test_doubts_are_standard_errors_of_paired_differences() -> None:
    draw = torch.Generator().manual_seed(5)
    labels = torch.zeros(150, dtype=torch.int64)
    base = [torch.randn(150, generator=draw, dtype=torch.float64) for _ in range(2)]
    near = [losses + 0.3 * torch.randn(150, generator=draw, dtype=torch.float64) for losses in base]
    right = torch.arange(150) % 10 != 0
    wrong = torch.arange(150) % 15 != 0
    new, target = (
        (Evaluated(side[0], right, labels), Evaluated(side[1], right, labels))
        for side in (base, near)
    )
    found = doubted(
        Judgement(0.1, 0.2, 0.3, 0.4), new, target, Evaluated(near[1], wrong, labels), 0
    )

    # DeLong, DeLong and Clarke-Pearson 1988: by each row's share of pairs won.
    won = [(side[0][:, None] < side[1]).double() for side in (base, near)]
    apart = won[0] - won[1]
    variance = apart.mean(1).var() / 150 + apart.mean(0).var() / 150
    assert found.doubt_membership_auc == pytest.approx(float(variance.sqrt()) / 0.03, rel=0.15)
    # 10 rows are right for one network alone, 5 for the other: mean -5/150, mean square 15/150.
    spread = (15 / 150 - (5 / 150) ** 2) ** 0.5
    assert found.doubt_holdout_accuracy == pytest.approx(spread / 150**0.5 / 0.01)
    assert found.value == pytest.approx(
        max(0.3 + found.doubt_membership_auc, 0.4 + found.doubt_holdout_accuracy)
    )


def test_nobody_doubts_what_is_the_same() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    one = Evaluated(torch.tensor([0.1, 0.5, 0.2, 0.7]).double(), labels == 1, labels)
    found = doubted(Judgement(0.1, 0.2, 0.3, 0.4), (one, one), (one, one), one, 0)
    assert found.doubt_membership_auc == found.doubt_holdout_accuracy == 0.0
    assert found.value == 0.4
