"""Drawn labels, signed batches, shrinking batches and the precision of products."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.curvature import (
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_fisher_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, TensorRows
from tests.unlearning.curvature.language_models import transformer
from tests.unlearning.curvature.networks import Case, classifier, regression
from tests.unlearning.curvature.oracles import dense_ggn, flatten, looped_fisher


def _scores(draws: Tensor, exact: Tensor) -> Tensor:
    """Return standard scores of the means over independent draws, (draws, d)."""
    error = draws.mean(0) - exact
    return error / (draws.std(0) / len(draws) ** 0.5 + 1e-12)


@pytest.mark.parametrize("name", ["relu mlp", "gpt", "mean_squared_error", "binary_cross_entropy"])
def test_drawn_labels_are_unbiased(name: str) -> None:
    if name == "gpt":
        case = transformer(name, rows=3)
    else:
        case = regression(name) if name.startswith(("mean", "binary")) else classifier(name, rows=3)
    draws = torch.stack([
        flatten(monte_carlo_fisher_diagonal(case.model, case.objective, case.rows, seed=s).values)
        for s in range(300)
    ])
    # Squares of rare labels are far from normal, so the bound on the mean square is generous.
    assert float(_scores(draws, dense_ggn(case).diagonal()).square().mean()) < 4


def test_drawn_labels_do_not_depend_on_the_batches() -> None:
    case = transformer("gpt", rows=5)
    one, other = (
        monte_carlo_fisher_diagonal(case.model, case.objective, case.rows, draws=2, batch_size=b)
        for b in (2, 5)
    )
    assert_close(flatten(one.values), flatten(other.values), rtol=1e-9, atol=1e-12)
    assert (one.estimator, one.draws, one.exact) == ("monte_carlo_fisher", 2, False)


def test_signed_batches_are_unbiased_and_say_so() -> None:
    case = classifier("lstm", rows=6)
    found = empirical_fisher_diagonal(
        case.model, case.objective, case.rows, batch_size=3, fallback="signs"
    )
    assert found.fallbacks
    assert found.is_signed
    assert not found.exact
    # The signs are fixed, so other orders of the rows are other draws.
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(300):
        order = torch.randperm(6, generator=generator)
        shuffled = [case.rows.take(part) for part in order.split(3)]
        estimate = empirical_fisher_diagonal(case.model, case.objective, shuffled, fallback="signs")
        draws.append(flatten(estimate.values))
    exact = looped_fisher(case)
    error = torch.stack(draws).mean(0) - exact
    assert float(error.norm() / exact.norm()) < 0.7
    assert float((flatten(found.values) - exact).norm()) > 0


class OneOutput(nn.Module):
    """One output per row, by operations without rules."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(4, 3) / 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.einsum("ni,oi->no", inputs, self.mixing)).mean(1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("estimate", [sketched_ggn_diagonal, monte_carlo_fisher_diagonal])
def test_the_signs_of_batches_are_independent_of_the_draws(estimate: Any, seed: int) -> None:
    torch.manual_seed(2)
    model, objective = OneOutput().double(), Objective("binary_cross_entropy")
    inputs = torch.randn(1024, 3, dtype=torch.float64) + 1.0
    rows = TensorRows(inputs, torch.zeros(1024, dtype=torch.float64))
    exact = flatten(ggn_diagonal(model, objective, rows).values)

    found = estimate(model, objective, rows, seed=seed, fallback="signs", batch_size=16)

    # Of 64 squares the mean scatters by about sqrt(2 / 64) = 0.18; without signs it is 16 times
    # as large, since the rows' gradients point the same way.
    assert abs(float((flatten(found.values) / exact).mean()) - 1.0) < 0.9


class Narrow(nn.Module):
    """A network whose accelerator holds only so many rows."""

    def __init__(self, model: nn.Module, most: int, fails_from: int = 0) -> None:
        super().__init__()
        self.model, self.most, self.fails_from, self.calls = model, most, fails_from, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        if len(inputs) > self.most and self.calls > self.fails_from:
            raise torch.OutOfMemoryError
        return self.model(inputs)


@pytest.mark.parametrize("fails_from", [0, 6])
@pytest.mark.parametrize(
    "estimate",
    [ggn_diagonal, sketched_ggn_diagonal, empirical_fisher_diagonal, monte_carlo_fisher_diagonal],
)
def test_batches_are_halved_until_they_fit(estimate: object, fails_from: int) -> None:
    assert callable(estimate)
    case = classifier("relu mlp", rows=21, weighted=True)
    whole = estimate(case.model, case.objective, case.rows, batch_size=8)
    # In the second case memory runs out when batches have been added already.
    narrow = Narrow(case.model, 3, fails_from)
    found = estimate(narrow, case.objective, case.rows, batch_size=8)
    assert found.batch_size == 2
    assert found.rows == 21
    assert_close(flatten(found.values), flatten(whole.values), rtol=1e-9, atol=1e-12)
    batches = list(case.rows.batches(8))
    again = estimate(Narrow(case.model, 3), case.objective, batches)
    assert_close(flatten(again.values), flatten(whole.values), rtol=1e-9, atol=1e-12)


def test_the_audit_halves_its_batches_too() -> None:
    case = classifier("relu mlp", rows=9)
    whole = hutchinson_diagonal(case.model, case.objective, case.rows, draws=3)
    found = hutchinson_diagonal(
        Narrow(case.model, 4), case.objective, case.rows, draws=3, batch_size=9
    )
    assert found.batch_size == 4
    assert_close(flatten(found.values), flatten(whole.values), rtol=1e-9, atol=1e-12)


def test_what_cannot_be_halved_or_repeated_runs_out_of_memory() -> None:
    case = classifier("relu mlp", rows=4)
    with pytest.raises(torch.OutOfMemoryError):
        ggn_diagonal(Narrow(case.model, 0), case.objective, case.rows)
    once = iter([Batch(case.rows.inputs, case.rows.targets)])
    with pytest.raises(torch.OutOfMemoryError):
        ggn_diagonal(Narrow(case.model, 2), case.objective, once)


def _single(case: Case) -> tuple[nn.Module, list[Batch]]:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(32, 64, generator=generator)
    return model, [Batch(inputs, torch.randint(0, 10, (32,), generator=generator))]


def test_reduced_precision_is_close_and_is_taken_back() -> None:
    torch.manual_seed(0)
    model, rows = _single(classifier("relu mlp"))
    objective = classifier("relu mlp").objective
    before = torch.get_float32_matmul_precision()
    exact = flatten(empirical_fisher_diagonal(model, objective, rows).values)
    medium = flatten(empirical_fisher_diagonal(model, objective, rows, precision="medium").values)
    assert torch.get_float32_matmul_precision() == before
    # Eight bits of mantissa, in three products after one another.
    assert float((medium - exact).norm() / exact.norm()) < 2e-2


@pytest.mark.parametrize("kind", ["chain", "tape", "positions", "table", "image", "no rules"])
def test_networks_in_bfloat16_are_summed_in_float32(kind: str) -> None:
    torch.manual_seed(5)
    bodies: dict[str, tuple[list[nn.Module], tuple[int, ...]]] = {
        "chain": ([nn.Linear(6, 6), nn.Tanh()], (6,)),
        "tape": ([nn.Linear(6, 6), nn.Softsign()], (6,)),
        "positions": ([nn.Linear(3, 6), nn.Tanh(), nn.Flatten()], (2, 3)),
        "table": ([nn.Embedding(7, 3), nn.Flatten()], (4,)),
        "image": ([nn.Conv2d(1, 3, 2), nn.Flatten()], (1, 3, 3)),
        "no rules": ([nn.PReLU(6)], (6,)),
    }
    body, shape = bodies[kind]
    model = nn.Sequential(*body, nn.LazyLinear(3))
    inputs = torch.randint(7, (1500, *shape)) if kind == "table" else torch.randn(1500, *shape)
    model(inputs)
    inputs = inputs if kind == "table" else inputs.bfloat16()
    model, objective = model.bfloat16(), Objective("cross_entropy")
    rows = TensorRows(inputs, torch.randint(3, (1500,)))
    as_is = TensorRows(inputs if kind == "table" else inputs.double(), rows.targets)

    found = empirical_fisher_diagonal(model, objective, rows, batch_size=2)

    assert bool(found.fallbacks) is (kind == "no rules")
    expected = empirical_fisher_diagonal(copy.deepcopy(model).double(), objective, as_is)
    for name, value in found.values.items():
        assert value.dtype == torch.float32
        # Single gradients are good to two or three digits, and their errors partly cancel. Sums
        # in bfloat16 end a third to a half below the truth after 750 batches.
        assert abs(float(value.sum() / expected.values[name].sum()) - 1.0) < 0.02
