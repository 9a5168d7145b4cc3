"""What networks cost, against sums by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.distillation.effort import Effort, multiply_adds
from app.unlearning.distillation.head_split import split_head
from app.unlearning.methods.reference_distillation import ReferenceDistillation
from tests.unlearning.distillation.overfitted import RECIPE, overfitted

# Of the small network: 4 x 1 x 3 and 8 x 4 x 3 weights at 20 positions; 160 x 32 and 32 x 4 once.
BODY, HEAD = 20 * (12 + 96), 160 * 32 + 32 * 4


def test_a_weight_counts_once_for_each_position() -> None:
    problem = overfitted()
    one = problem.forget.take(torch.zeros(1, dtype=torch.int64)).inputs
    assert multiply_adds(problem.model, one) == BODY + HEAD
    assert multiply_adds(nn.Embedding(5, 3), torch.zeros(2, 4, dtype=torch.int64)) == 0


def test_a_share_is_of_all_epochs_over_all_rows() -> None:
    effort = Effort(replace(RECIPE, epochs=10), rows=100, cost=0.5)
    assert effort.share(head=200, network=0) == pytest.approx(200 * 0.5 / 1000)
    assert effort.share(head=0, network=300) == pytest.approx(100 / 1000)
    # 40 % of a retraining is worth 800 rows of the head: 8 times 100 of them.
    assert effort.times(0.4, of=100, least=1, most=20) == 8
    assert effort.times(0.4, of=100, least=9, most=20) == 9
    assert effort.times(0.4, of=100, least=1, most=5) == 5
    assert Effort(None, 100, 0.5).share(head=1, network=1) is None


def test_the_method_knows_what_it_will_cost() -> None:
    problem = overfitted()
    method = ReferenceDistillation(passes=7, steps=100)
    retained, held_out = len(problem.retained), 600
    head = (7 * retained + 100 * 240) * HEAD / (BODY + HEAD)
    network = (retained + held_out + len(problem.forget)) / 3
    found = method.expected_share(problem)
    assert found == pytest.approx((head + network) / (RECIPE.epochs * retained))
    assert method.expected_share(replace(problem, recipe=None)) is None
    assert len(split_head(problem.model).names) == 4  # the two dense layers, as counted above
