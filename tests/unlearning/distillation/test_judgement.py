"""J against numbers worked out by hand."""

import pytest
import torch

from app.unlearning.distillation.class_mix import class_mix
from app.unlearning.distillation.judgement import Figures, figures_of, judge

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
