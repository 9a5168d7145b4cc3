"""Losses and the roots of their curvature against automatic differentiation."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev
from torch.testing import assert_close

from app.unlearning.errors import BadParameters, NotApplicable
from app.unlearning.objective import IGNORED, LossName, Objective

SHAPES: list[tuple[LossName, tuple[int, ...]]] = [
    ("cross_entropy", (5,)),
    ("cross_entropy", (2,)),
    ("cross_entropy", (3, 2)),
    ("binary_cross_entropy", (1,)),
    ("binary_cross_entropy", ()),
    ("mean_squared_error", (3,)),
    ("mean_squared_error", ()),
]


def _draw(name: LossName, shape: tuple[int, ...]) -> tuple[Objective, Tensor, Tensor]:
    torch.manual_seed(11)
    outputs = 3 * torch.randn(4, *shape, dtype=torch.float64)
    targets = torch.randn_like(outputs)
    if name == "cross_entropy":
        targets = torch.randint(0, shape[-1], (4, *shape[:-1]))
        if targets.dim() == 2:
            targets[1, 2] = targets[2] = IGNORED
    elif name == "binary_cross_entropy":
        targets = (targets > 0).double().reshape(4)
    return Objective(name), outputs, targets


def _hessians(objective: Objective, outputs: Tensor, targets: Tensor) -> list[Tensor]:
    bends = []
    for row in range(len(outputs)):
        target = targets[row : row + 1]
        bend = jacrev(jacrev(lambda out, t=target: objective.losses(out[None], t)[0]))(outputs[row])
        bends.append(bend.reshape(outputs[row].numel(), -1))
    return bends


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_gradient_root_and_product_are_derivatives_of_the_loss(
    name: LossName, shape: tuple[int, ...]
) -> None:
    objective, outputs, targets = _draw(name, shape)
    leaf = outputs.clone().requires_grad_()
    losses = objective.losses(leaf, targets)
    assert losses.shape == (4,)
    expected = torch.autograd.grad(losses.sum(), leaf)[0]
    assert_close(objective.output_gradient(outputs, targets), expected)
    direction = torch.randn_like(outputs)
    product = objective.output_curvature_product(outputs, direction, targets)
    columns = list(objective.root_columns(outputs, targets))
    for row, bend in enumerate(_hessians(objective, outputs, targets)):
        root = torch.stack([column[row].flatten() for column in columns])
        assert_close(root.T @ root, bend)
        assert_close(product[row].flatten(), bend @ direction[row].flatten())


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_signed_draws_have_the_curvature_as_their_mean_square(
    name: LossName, shape: tuple[int, ...]
) -> None:
    objective, outputs, targets = _draw(name, shape)
    every = list(itertools.product((-1.0, 1.0), repeat=outputs[0].numel()))
    draws = []
    for signs in every:
        spread = torch.tensor(signs, dtype=torch.float64).reshape(shape).expand_as(outputs)
        draws.append(objective.root_draw(outputs, spread, targets).reshape(4, -1))
    for row, bend in enumerate(_hessians(objective, outputs, targets)):
        mean = sum(torch.outer(draw[row], draw[row]) for draw in draws) / len(every)
        assert_close(mean, bend)


@pytest.mark.parametrize(("name", "shape"), SHAPES)
def test_drawn_targets_have_the_curvature_as_their_mean_square(
    name: LossName, shape: tuple[int, ...]
) -> None:
    objective, outputs, targets = _draw(name, shape)
    per_row = objective.noise_shape(outputs)[1:]
    # All combinations of the midpoints of equal intervals: a mean over the noise, as a sum.
    points = {1: 2000, 3: 40}[per_row.numel()]
    line = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    grid = torch.cartesian_prod(*[line] * per_row.numel()).view(-1, *per_row)
    for row, bend in enumerate(_hessians(objective, outputs, targets)):
        repeated = outputs[row].expand(len(grid), *outputs.shape[1:])
        wanted = targets[row].expand(len(grid), *targets.shape[1:])
        drawn = objective.drawn_gradient(repeated, grid, wanted).reshape(len(grid), -1)
        mean = drawn.T @ drawn / len(grid)
        # A probability is off by half an interval; a normal distribution misses its tails.
        off = 4.0 if name == "mean_squared_error" else 1.0
        assert_close(mean, bend, rtol=0, atol=off / points)


def test_a_sequence_costs_the_mean_of_its_tokens() -> None:
    objective, outputs, targets = _draw("cross_entropy", (3, 2))
    tokens = [
        objective.losses(out[wanted != IGNORED], wanted[wanted != IGNORED])
        for out, wanted in zip(outputs, targets, strict=True)
    ]
    expected = [float(token.mean()) if len(token) else 0.0 for token in tokens]
    assert len(tokens[1]) == 2
    assert objective.losses(outputs, targets).tolist() == pytest.approx(expected)


def test_tokens_without_targets_all_count() -> None:
    objective, outputs, _ = _draw("cross_entropy", (3, 2))
    every = torch.zeros(4, 3, dtype=torch.int64)
    assert_close(
        torch.stack(list(objective.root_columns(outputs))),
        torch.stack(list(objective.root_columns(outputs, every))),
    )


@given(st.lists(st.floats(-400, 400, width=32), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_softmax_root_survives_extreme_logits_in_single_precision(logits: list[float]) -> None:
    outputs = torch.tensor([logits])
    root = torch.stack([c[0] for c in Objective("cross_entropy").root_columns(outputs)])
    p = torch.softmax(outputs[0].double(), 0)
    # Logits of size 400 are themselves known to 3e-5 only.
    assert_close(root.double().T @ root.double(), p.diag() - p.outer(p), rtol=1e-3, atol=1e-4)


def test_confident_classes_keep_their_curvature() -> None:
    logits = torch.tensor([[30.0, 0.0, -2.0], [0.0, 30.0, 28.0]])
    root = torch.stack(list(Objective("cross_entropy").root_columns(logits)))
    p = torch.softmax(logits.double(), 1)
    # Differences such as 1 - p would be zero here, in single precision.
    rest = p.sum(1, keepdim=True) - p
    rest[0, 0] = p[0, 1:].sum()
    assert_close(root.double().square().sum(0), p * rest, rtol=1e-5, atol=0)


def test_confident_logistic_outputs_keep_their_curvature() -> None:
    root = next(Objective("binary_cross_entropy").root_columns(torch.tensor([30.0, -30.0])))
    assert_close(root, torch.full((2,), 3.059e-7), rtol=1e-3, atol=0)


def test_mean_squared_error_is_a_mean_over_columns() -> None:
    losses = Objective("mean_squared_error").losses(torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2))
    assert losses.tolist() == [5.0]


@pytest.mark.parametrize("decay", [-1.0, float("nan"), float("inf")])
def test_impossible_weight_decay_is_refused(decay: float) -> None:
    with pytest.raises(BadParameters) as caught:
        Objective("cross_entropy", decay)
    assert caught.value.pointer == "/weight_decay"


def test_unknown_losses_are_refused() -> None:
    with pytest.raises(BadParameters) as caught:
        Objective("hinge")  # type: ignore[arg-type]  # what a careless caller would pass
    assert caught.value.pointer == "/name"


def test_a_logistic_loss_of_several_outputs_is_refused() -> None:
    objective, outputs, targets = (
        Objective("binary_cross_entropy"),
        torch.zeros(4, 2),
        torch.ones(4, 2),
    )
    for work in (
        lambda: objective.losses(outputs, targets),
        lambda: objective.output_gradient(outputs, targets),
        lambda: objective.drawn_gradient(outputs, torch.full((4, 2), 0.5)),
        lambda: list(objective.root_columns(outputs)),
        lambda: objective.root_draw(outputs, torch.ones(4, 2)),
        lambda: objective.output_curvature_product(outputs, outputs),
    ):
        with pytest.raises(NotApplicable, match="one output"):
            work()


def test_a_row_with_one_target_cannot_do_without_it() -> None:
    objective, outputs = Objective("cross_entropy"), torch.zeros(2, 3)
    for work in (objective.losses, objective.output_gradient):
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            work(outputs, torch.tensor([0, IGNORED]))
