"""Losses and predictions row by row are what the network gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows, empty
from app.unlearning.verification import baseline, evaluate


def classifier() -> tuple[nn.Module, TensorRows]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    inputs = torch.randn(23, 3, generator=generator)
    return model, TensorRows(inputs, torch.randint(4, (23,), generator=generator))


def test_classes_are_judged_by_the_largest_output() -> None:
    model, rows = classifier()
    result = evaluate(model, Objective("cross_entropy", weight_decay=3.0), rows)
    outputs = model.eval()(rows.inputs).detach().double()
    assert_close(result.losses, nn.CrossEntropyLoss(reduction="none")(outputs, rows.targets))
    right = [int(o.argmax()) == int(t) for o, t in zip(outputs, rows.targets, strict=True)]
    assert result.correct is not None
    assert result.correct.tolist() == right
    assert result.accuracy == sum(right) / 23


@pytest.mark.parametrize("column", [True, False])
def test_one_logit_is_judged_by_its_sign(column: bool) -> None:
    logits = torch.tensor([2.0, -1.0, 3.0, -4.0])
    targets = torch.tensor([1.0, 1.0, 0.0, 0.0])
    rows = TensorRows(logits[:, None] if column else logits, targets)
    result = evaluate(nn.Identity(), Objective("binary_cross_entropy"), rows)
    assert result.correct is not None
    assert result.correct.tolist() == [True, False, False, True]
    assert_close(result.losses, torch.log1p(torch.exp(torch.tensor([-2.0, 1, 3, -4]).double())))


def test_a_regression_has_no_accuracy() -> None:
    rows = TensorRows(
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    )
    objective = Objective("mean_squared_error")
    assert evaluate(nn.Identity(), objective, rows).losses.tolist() == [2.5, 5.0]
    assert baseline(nn.Identity(), objective, rows) == {"loss": 3.75}


def test_the_baseline_is_mean_loss_and_accuracy() -> None:
    model, rows = classifier()
    result = evaluate(model, Objective("cross_entropy"), rows)
    assert baseline(model, Objective("cross_entropy"), rows) == {
        "loss": result.loss,
        "accuracy": result.accuracy,
    }


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30))
def test_splitting_the_batch_changes_nothing(size: int) -> None:
    model, rows = classifier()
    whole = evaluate(model, Objective("cross_entropy"), rows)
    split = evaluate(model, Objective("cross_entropy"), rows, batch_size=size)
    assert_close(split.losses, whole.losses, rtol=1e-5, atol=1e-6)


def test_the_network_is_left_as_it_was() -> None:
    model, rows = classifier()
    model[1].eval()  # type: ignore[index] # a Sequential
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, Objective("cross_entropy"), rows)
    assert [module.training for module in model] == [True, False, True, True]  # type: ignore[attr-defined]
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_confidently_right_rows_keep_different_losses() -> None:
    rows = TensorRows(torch.tensor([[20.0, 0.0], [30.0, 0.0]]), torch.tensor([0, 0]))
    losses = evaluate(nn.Identity(), Objective("cross_entropy"), rows).losses
    assert losses[0] > losses[1] > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(value: float) -> None:
    rows = TensorRows(torch.tensor([[0.0, 1.0], [value, 0.0]]), torch.tensor([0, 1]))
    with pytest.raises(NonFinite):
        evaluate(nn.Identity(), Objective("cross_entropy"), rows)


def test_no_rows_are_an_error() -> None:
    with pytest.raises(NotApplicable):
        baseline(nn.Identity(), Objective("cross_entropy"), empty())
