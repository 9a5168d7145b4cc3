"""Every estimator against the closed forms of linear models, and what none may depend on."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.curvature import (
    Diagonal,
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_fisher_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows, TensorRows
from tests.unlearning.curvature.networks import classifier
from tests.unlearning.curvature.oracles import flatten

Estimate = Callable[..., Diagonal]
EXACT: tuple[Estimate, ...] = (ggn_diagonal, empirical_fisher_diagonal)
UNBIASED: tuple[Estimate, ...] = (
    sketched_ggn_diagonal,
    monte_carlo_fisher_diagonal,
    hutchinson_diagonal,
)


def softmax_regression(rows: int = 40) -> tuple[nn.Linear, TensorRows, Tensor]:
    """A model, its rows and the diagonal: the mean of x_j^2 p_c (1 - p_c); x_j = 1 for a bias."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    inputs = torch.randn(rows, 3, dtype=torch.float64)
    p = torch.softmax(model(inputs), 1).detach()
    bend = p * (1 - p)
    weight = bend.T @ inputs.square() / rows
    expected = torch.cat([weight.flatten(), bend.mean(0)])
    return model, TensorRows(inputs, torch.randint(0, 4, (rows,))), expected


def logistic_regression(rows: int = 40) -> tuple[nn.Linear, TensorRows, Tensor]:
    """A model, its rows and diag(X^T diag(p (1 - p)) X) / n."""
    torch.manual_seed(1)
    model = nn.Linear(4, 1).double()
    inputs = torch.randn(rows, 4, dtype=torch.float64)
    p = torch.sigmoid(model(inputs)).detach()
    bend = p * (1 - p)
    expected = torch.cat([(bend * inputs.square()).mean(0), bend.mean(0)])
    return model, TensorRows(inputs, (torch.rand(rows) < 0.5).double()), expected


MODELS = {
    "cross_entropy": softmax_regression,
    "binary_cross_entropy": logistic_regression,
}


@pytest.mark.parametrize("loss", MODELS)
def test_the_exact_diagonal_is_the_textbooks(loss: Any) -> None:
    model, rows, expected = MODELS[loss]()
    # Weight decay, a constant on the diagonal, is left out.
    found = ggn_diagonal(model, Objective(loss, weight_decay=3.0), rows)
    assert_close(flatten(found.values), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("estimate", UNBIASED)
@pytest.mark.parametrize("loss", MODELS)
def test_every_estimate_scatters_around_the_textbooks(loss: Any, estimate: Estimate) -> None:
    model, rows, expected = MODELS[loss]()
    singles = torch.stack([
        flatten(estimate(model, Objective(loss), rows, draws=1, seed=seed).values)
        for seed in range(200)
    ])
    error = singles.mean(0) - expected
    spread = singles.std(0)
    # Five standard errors for each of sixteen entries; a sketch of one output does not scatter.
    assert bool((error.abs() <= 5 * spread / 200**0.5 + 1e-12).all())
    assert bool((spread > 0).any()) or (loss, estimate) == (
        "binary_cross_entropy",
        sketched_ggn_diagonal,
    )


def test_the_empirical_fisher_is_the_textbooks_with_the_labels() -> None:
    model, rows, _ = softmax_regression()
    p = torch.softmax(model(rows.inputs), 1).detach()
    slope = (p - nn.functional.one_hot(rows.targets, 4)).square()
    expected = torch.cat([(slope.T @ rows.inputs.square() / 40).flatten(), slope.mean(0)])
    found = empirical_fisher_diagonal(model, Objective("cross_entropy"), rows)
    assert_close(flatten(found.values), expected, rtol=1e-12, atol=0)


def test_one_probe_is_exact_where_the_hessian_is_diagonal() -> None:
    """Rows that switch on one input each, and a squared loss: no two weights meet."""
    model = nn.Linear(5, 2, bias=False).double()
    heights = torch.tensor([0.5, 1.0, -2.0, 3.0, 0.1], dtype=torch.float64)
    rows = TensorRows(torch.diag(heights), torch.randn(5, 2, dtype=torch.float64))
    found = hutchinson_diagonal(model, Objective("mean_squared_error"), rows, draws=1)
    # The mean over five rows of the mean over two outputs of 2 x^2 / 2.
    assert_close(found.values["weight"], (heights.square() / 5).expand(2, 5))


def test_one_probe_finds_the_largest_of_a_wide_spectrum() -> None:
    """Off-diagonal noise of a few entries next to a spectrum over six decades hides nobody."""
    generator = torch.Generator().manual_seed(2)
    scales = torch.logspace(-3, 3, 200, dtype=torch.float64).sqrt()
    noise = torch.randn(2000, 200, generator=generator, dtype=torch.float64)
    model = nn.Linear(200, 1, bias=False).double()
    rows = TensorRows(noise * scales, torch.zeros(2000, dtype=torch.float64))
    objective = Objective("mean_squared_error")
    exact = ggn_diagonal(model, objective, rows).values["weight"][0]
    top = set(exact.topk(20).indices.tolist())
    for draws, least in ((1, 0.9), (10, 1.0)):
        found = hutchinson_diagonal(model, objective, rows, draws=draws).values["weight"][0]
        assert len(top & set(found.topk(20).indices.tolist())) >= least * 20


@given(seed=st.integers(0, 10_000), name=st.sampled_from(["relu mlp", "attention", "lstm"]))
@settings(max_examples=6, deadline=None)
def test_the_order_of_the_rows_changes_no_exact_diagonal(seed: int, name: str) -> None:
    case = classifier(name, rows=9, weighted=True)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    batch = case.rows.take(order)
    shuffled = TensorRows(batch.inputs, batch.targets, batch.weights)
    for estimate in EXACT:
        one = estimate(case.model, case.objective, case.rows, batch_size=4)
        other = estimate(case.model, case.objective, shuffled, batch_size=4)
        assert_close(flatten(one.values), flatten(other.values), rtol=1e-9, atol=1e-13)


@given(factor=st.sampled_from([1e-6, 0.5, 1e6]))
@settings(max_examples=3, deadline=None)
def test_weights_in_other_units_give_the_same_mean(factor: float) -> None:
    case = classifier("relu mlp", rows=6, weighted=True)
    assert case.rows.weights is not None
    scaled = TensorRows(case.rows.inputs, case.rows.targets, factor * case.rows.weights)
    for estimate in (*EXACT, *UNBIASED):
        one = estimate(case.model, case.objective, case.rows)
        other = estimate(case.model, case.objective, scaled)
        assert_close(flatten(one.values), flatten(other.values), rtol=1e-9, atol=1e-13)


@dataclass
class Streamed(Rows):
    """Rows that come from elsewhere, and look at how many of their batches are still held."""

    rows: TensorRows
    held: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        seen: list[weakref.ref[Tensor]] = []
        for start in range(0, len(self), size):
            batch = self.rows.take(torch.arange(start, min(start + size, len(self))))
            self.held.append(sum(ref() is not None for ref in seen))
            seen.append(weakref.ref(batch.inputs))
            yield batch
            del batch

    def take(self, positions: Tensor) -> Batch:
        return self.rows.take(positions)


@pytest.mark.parametrize("name", ["relu mlp", "grouped cnn", "tied attention", "lstm"])
@pytest.mark.parametrize("estimate", [*EXACT, *UNBIASED])
def test_no_batch_is_held_when_the_one_after_the_next_is_read(
    name: str, estimate: Estimate
) -> None:
    case = classifier(name, rows=24)
    rows = Streamed(case.rows)
    draws = {} if estimate in EXACT else {"draws": 2}
    estimate(case.model, case.objective, rows, batch_size=3, **draws)
    assert len(rows.held) == 8
    # The caller's loop still names one batch while it asks for the next.
    assert max(rows.held) <= 1
