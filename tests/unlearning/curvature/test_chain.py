"""Networks that are one chain are told from those that only look like it, and give the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from app.unlearning.curvature import empirical_fisher_diagonal, ggn_diagonal
from app.unlearning.curvature.chain import Chain
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from tests.unlearning.curvature.networks import Case
from tests.unlearning.curvature.oracles import dense_ggn, flatten, looped_fisher

ROWS, WIDTH, CLASSES = 5, 4, 3


def dense(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *between, nn.Linear(WIDTH, CLASSES))


class Written(nn.Module):
    """Two layers with something of the test's own between them."""

    def __init__(
        self, between: Callable[["Written", Tensor], Tensor], *, scaled: bool = False
    ) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        if scaled:
            self.factor = nn.Parameter(torch.rand(WIDTH) + 0.5)
        self.between = between

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.between(self, self.first(inputs)))


class Scaling(torch.autograd.Function):
    """An operation that no watch over torch's functions sees."""

    @staticmethod
    def forward(ctx: object, inputs: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, factor)  # type: ignore[attr-defined]  # torch's context
        return inputs * factor

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, Tensor]:
        inputs, factor = ctx.saved_tensors  # type: ignore[attr-defined]  # torch's context
        return gradient * factor, (gradient * inputs).sum(0)


def _overwritten(_: Written, hidden: Tensor) -> Tensor:
    activated = functional.gelu(hidden)
    activated[:, 0] = 0.25
    return activated


def _shared(model: Written, hidden: Tensor) -> Tensor:
    return torch.tanh(functional.linear(torch.tanh(hidden), model.first.weight))


CHAINS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: dense(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True)),
    "gelu and tanh": lambda: dense(nn.GELU("tanh"), nn.Linear(WIDTH, WIDTH), nn.Tanh()),
    "leaky relu": lambda: dense(nn.LeakyReLU(0.3), nn.Linear(WIDTH, WIDTH, bias=False), nn.SiLU()),
    "dropout and flatten": lambda: dense(nn.Dropout(), nn.Flatten(), nn.Sigmoid()),
    "reshaped inside": lambda: dense(nn.Unflatten(1, (2, 2)), nn.ELU(), nn.Flatten()),
}

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "a parameter between": lambda: Written(
        lambda model, hidden: hidden * model.factor, scaled=True
    ),
    "an operation unseen": lambda: Written(
        lambda model, h: Scaling.apply(h, model.factor), scaled=True
    ),
    "a shared weight": lambda: Written(_shared),
    "a sum of two paths": lambda: Written(lambda _, hidden: hidden + torch.relu(hidden)),
    "something overwritten": lambda: Written(_overwritten),
    "an activation in place": lambda: dense(nn.SiLU(inplace=True)),
    "parameters from parameters": lambda: dense(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    ),
}


def case(build: Callable[[], nn.Module]) -> Case:
    torch.manual_seed(2)
    model = build().double().eval()
    inputs = torch.randn(ROWS, WIDTH, dtype=torch.float64)
    labels, weights = torch.randint(0, CLASSES, (ROWS,)), torch.rand(ROWS, dtype=torch.float64)
    return Case(model, Objective("cross_entropy"), TensorRows(inputs, labels, weights + 0.5))


def is_chain(model: nn.Module, inputs: Tensor) -> bool:
    chain = Chain(list(model.parameters()), inputs)
    with torch.no_grad(), chain:
        outputs = model(inputs)
    return chain.covers(outputs)


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_only_what_is_a_chain_is_taken_for_one(name: str) -> None:
    made = case({**CHAINS, **OTHERS}[name])
    assert is_chain(made.model, made.rows.inputs) is (name in CHAINS)


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_all_of_them_equal_single_rows(name: str) -> None:
    made = case({**CHAINS, **OTHERS}[name])
    found = empirical_fisher_diagonal(made.model, made.objective, made.rows, batch_size=3)
    assert_close(flatten(found.values), looped_fisher(made), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CHAINS)
def test_all_columns_at_once_equal_the_dense_matrix(name: str) -> None:
    made = case(CHAINS[name])
    found = ggn_diagonal(made.model, made.objective, made.rows, batch_size=3)
    assert_close(flatten(found.values), dense_ggn(made).diagonal(), rtol=1e-9, atol=1e-12)


def test_frozen_layers_of_a_chain_take_no_part() -> None:
    made = case(CHAINS["relu"])
    whole = ggn_diagonal(made.model, made.objective, made.rows).values
    frozen = {"0.weight", "0.bias", "2.weight"}
    for name, parameter in made.model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    part = ggn_diagonal(made.model, made.objective, made.rows).values
    assert set(part) == set(whole) - frozen
    assert is_chain(made.model, made.rows.inputs)
    for name, values in part.items():
        assert_close(values, whole[name], rtol=1e-9, atol=1e-12)


def test_seeds_that_do_not_fit_together_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    made = case(CHAINS["gelu and tanh"])
    whole = ggn_diagonal(made.model, made.objective, made.rows).values
    monkeypatch.setattr("app.unlearning.curvature.chain._HELD", 1)
    apart = ggn_diagonal(made.model, made.objective, made.rows).values
    assert_close(flatten(apart), flatten(whole), rtol=1e-9, atol=1e-12)
