"""Networks that do with their rows what others do not: handled exactly, or refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from app.unlearning.curvature import (
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
)
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.errors import NotApplicable
from app.unlearning.methods.masked_descent import masked_descent
from app.unlearning.objective import LossName, Objective
from app.unlearning.rows import TensorRows
from app.unlearning.selection import Selection
from app.unlearning.solvers import captured_block, ggn_vector_product
from tests.unlearning.curvature.networks import Case
from tests.unlearning.curvature.oracles import dense_ggn, flatten, looped_fisher
from tests.unlearning.methods.problems import network


class Written(nn.Module):
    """A linear layer, and a forward pass of one's own."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self._run = run

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(self, inputs)


def case_of(
    run: Callable[[Any, Tensor], Tensor],
    layer: nn.Module,
    *,
    loss: LossName = "cross_entropy",
    shape: tuple[int, ...] = (4,),
    targets: Tensor | None = None,
) -> Case:
    torch.manual_seed(3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    if targets is None:
        targets = torch.randint(0, 3, (5,))
    inputs = torch.randn(5, *shape, dtype=torch.float64)
    return Case(Written(run, layer.double()).eval(), Objective(loss), TensorRows(inputs, targets))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_axis_dropped_with_a_single_row_is_put_back(size: int) -> None:
    labels = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    one = case_of(
        lambda n, x: n.layer(x).squeeze(),
        nn.Linear(4, 1),
        loss="binary_cross_entropy",
        targets=labels,
    )
    several = case_of(lambda n, x: n.layer(x).squeeze(), nn.Linear(4, 3))
    for case in (one, several):
        plain = Case(case.model.layer, case.objective, case.rows)  # type: ignore[arg-type]
        found = empirical_fisher_diagonal(case.model, case.objective, case.rows, batch_size=size)
        assert not found.fallbacks
        assert_close(flatten(found.values), looped_fisher(plain), rtol=1e-9, atol=1e-13)


WRITING: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "first thing": lambda n, x: n.layer(functional.leaky_relu(x, 0.5, inplace=True)),
    "through a view": lambda n, x: n.layer(x.view(-1, 2, 2).mul_(0.5).flatten(1)),
}


@pytest.mark.parametrize("name", WRITING)
def test_rows_are_not_to_be_overwritten(name: str) -> None:
    case = case_of(WRITING[name], nn.Linear(4, 3))
    everything = Selection.everything(dict(case.model.named_parameters()))
    problem = replace(network("deletion"), model=case.model, retained=case.rows)
    for work in (
        lambda: ggn_diagonal(case.model, case.objective, case.rows),
        lambda: captured_block(case.model, case.objective, case.rows, everything),
        lambda: EditedLoss(problem).loss({}),
    ):
        with pytest.raises(NotApplicable, match="writes over"):
            work()


COUPLED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "less their mean": lambda n, x: n.layer(x - x.mean(0)),
    "attending to one another": lambda n, x: n.layer(torch.softmax(x @ x.t(), 1) @ x),
    "dropped at random": lambda n, x: n.layer(functional.dropout(x, 0.5)),
}


@pytest.mark.parametrize("name", COUPLED)
def test_rows_that_depend_on_one_another_or_on_chance_are_refused(name: str) -> None:
    case = case_of(COUPLED[name], nn.Linear(4, 3))
    everything = Selection.everything(dict(case.model.named_parameters()))
    for work in (
        lambda: empirical_fisher_diagonal(case.model, case.objective, case.rows),
        lambda: ggn_diagonal(case.model, case.objective, case.rows, fallback="signs"),
        lambda: captured_block(case.model, case.objective, case.rows, everything),
    ):
        with pytest.raises(NotApplicable, match="depend on"):
            work()


class Watched(torch.autograd.Function):
    """The identity; its backward pass looks at numbers, which several passes together lack."""

    @staticmethod
    def forward(_: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * (1.0 if float(gradients[0].abs().max()) < 1e9 else 0.0)


def test_a_backward_pass_that_cannot_be_taken_several_at_once_is_taken_alone() -> None:
    layers = nn.ModuleList([nn.Linear(4, 5), nn.Linear(5, 3)])
    case = case_of(lambda n, x: n.layer[1](Watched.apply(n.layer[0](x))), layers)
    plain = Case(nn.Sequential(*layers), case.objective, case.rows)
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert found.exact
    assert_close(flatten(found.values), dense_ggn(plain).diagonal(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("fallback", ["rows", "signs"])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_sparse_gradients_are_gradients(kind: Any, fallback: Any) -> None:
    values = []
    for sparse in (False, True):
        table = kind(6, 3, sparse=sparse)
        case = case_of(
            lambda n, x: n.layer((2 * x.abs()).long() % 6).view(len(x), -1, 3).mean(1), table
        )
        found = empirical_fisher_diagonal(case.model, case.objective, case.rows, fallback=fallback)
        assert bool(found.fallbacks) is (kind is nn.EmbeddingBag)
        values.append(flatten(found.values))
    assert_close(values[0], values[1], rtol=1e-9, atol=1e-14)
    assert bool(values[0].any())


def test_sparse_gradients_have_products_and_steps() -> None:
    found = []
    for sparse in (False, True):
        table = nn.Embedding(6, 3, sparse=sparse)
        case = case_of(lambda n, x: torch.tanh(n.layer((2 * x.abs()).long() % 6)).mean(1), table)
        everything = Selection.everything(dict(case.model.named_parameters()))
        product = ggn_vector_product(case.model, case.objective, case.rows, everything)
        problem = replace(
            network("deletion"), model=case.model, retained=case.rows, retained_total=5
        )
        descent = masked_descent(problem, everything, learning_rate=0.1, steps=3, batch_size=2)
        found.append([
            product(torch.arange(18, dtype=torch.float64)),
            EditedLoss(problem).gradient(problem.parameters)["layer.weight"],
            descent.values["layer.weight"],
        ])
    for dense, sparse_too in zip(*found, strict=True):
        assert_close(sparse_too, dense, rtol=1e-9, atol=1e-14)


def test_a_layer_that_meets_three_parts_of_a_row_needs_no_fallback() -> None:
    case = case_of(
        lambda n, x: sum(n.layer(x[:, part]) for part in range(3)), nn.Linear(4, 3), shape=(3, 4)
    )
    found = empirical_fisher_diagonal(case.model, case.objective, case.rows)
    assert not found.fallbacks
    assert_close(flatten(found.values), looped_fisher(case), rtol=1e-9, atol=1e-13)


def test_outputs_may_lie_in_memory_as_they_like() -> None:
    targets = torch.randn(5, 2, 3, dtype=torch.float64)
    case = case_of(
        lambda n, x: n.layer(x).transpose(1, 2),
        nn.Linear(4, 2),
        loss="mean_squared_error",
        shape=(3, 4),
        targets=targets,
    )
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert_close(flatten(found.values), dense_ggn(case).diagonal(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("used", [0, 1])
def test_parameters_without_a_part_have_no_curvature_and_no_gradient(used: int) -> None:
    layers = nn.ModuleList(nn.Linear(4, 3) for _ in range(2))
    case = case_of(lambda n, x: n.layer[used](x), layers)
    parameters = dict(case.model.named_parameters())
    everything = Selection.everything(parameters)

    block = captured_block(case.model, case.objective, case.rows, everything)
    product = ggn_vector_product(case.model, case.objective, case.rows, everything)
    direction = torch.arange(30, dtype=torch.float64)

    assert_close(block, dense_ggn(case), rtol=1e-9, atol=1e-13)
    assert_close(product(direction), block @ direction, rtol=1e-9, atol=1e-12)
    problem = replace(network("deletion"), model=case.model, retained=case.rows)
    unused = f"layer.{1 - used}."
    for chosen in (parameters, {n: p for n, p in parameters.items() if n.startswith(unused)}):
        gradient = EditedLoss(problem).gradient(chosen)
        decay = problem.objective.weight_decay
        for name, part in gradient.items():
            is_still = bool(torch.equal(part, decay * parameters[name].detach()))
            assert is_still is name.startswith(unused)


def test_where_nothing_has_a_part_there_is_no_curvature() -> None:
    layers = nn.ModuleList([nn.Linear(4, 3).requires_grad_(False), nn.Linear(4, 3)])
    case = case_of(lambda n, x: n.layer[0](x), layers)
    unused = {n: p for n, p in case.model.named_parameters() if p.requires_grad}
    everything = Selection.everything(unused)
    product = ggn_vector_product(case.model, case.objective, case.rows, everything)
    assert not product(torch.ones(15, dtype=torch.float64)).any()
    assert not captured_block(case.model, case.objective, case.rows, everything).any()
    found = hutchinson_diagonal(case.model, case.objective, case.rows, draws=2)
    assert not flatten(found.values).any()


def test_a_network_that_can_be_differentiated_only_once_has_no_products() -> None:
    bag = nn.EmbeddingBag(6, 3)
    case = case_of(lambda n, x: n.layer((2 * x.abs()).long() % 6), bag)
    everything = Selection.everything(dict(case.model.named_parameters()))
    product = ggn_vector_product(case.model, case.objective, case.rows, everything)
    with pytest.raises(NotApplicable, match="twice"):
        product(torch.ones(18, dtype=torch.float64))


def test_parameters_put_through_a_layer_need_no_fallback() -> None:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.zeros(2, 4))
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(8, 3)

    def run(net: Any, inputs: Tensor) -> Tensor:
        keys = net.layer.layer(net.layer.queries).t()
        weights = torch.softmax(torch.matmul(inputs, keys), 1).transpose(1, 2)
        return net.layer.head((weights @ inputs).flatten(1))

    case = case_of(run, Queries(), shape=(3, 4))
    found = empirical_fisher_diagonal(case.model, case.objective, case.rows)
    assert not found.fallbacks
    assert_close(flatten(found.values), looped_fisher(case), rtol=1e-9, atol=1e-13)


def test_rules_that_turn_out_not_to_hold_leave_nothing_behind() -> None:
    """Experts see as many tokens as the rows send them; two rows may look like a batch to them."""

    def run(net: Any, inputs: Tensor) -> Tensor:
        outputs = inputs.new_zeros(*inputs.shape[:2], 3)
        for expert, sent in zip(net.layer, (inputs[..., 0] > 0, inputs[..., 0] <= 0), strict=True):
            outputs = outputs.index_put((sent,), expert(inputs[sent]))
        return outputs.sum(1)

    case = case_of(run, nn.ModuleList(nn.Linear(4, 3) for _ in range(2)), shape=(4, 4))
    with torch.no_grad():
        signs = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
        case.rows.inputs[..., 0] = case.rows.inputs[..., 0].abs() * (2 * signs - 1)
    # Of the first two rows each expert sees two tokens each, and of the first four two on average.
    four = case.rows.take(torch.arange(4))
    for last in (case.rows.take(torch.tensor([4])), case.rows.take(torch.tensor([4, 0, 1]))):
        batches = [four, last]
        joined = TensorRows(
            torch.cat([b.inputs for b in batches]), torch.cat([b.targets for b in batches])
        )
        expected = replace(case, rows=joined)
        everything = Selection.everything(dict(case.model.named_parameters()))

        found = empirical_fisher_diagonal(case.model, case.objective, batches)
        block = captured_block(case.model, case.objective, batches, everything)

        assert found.fallbacks
        assert_close(flatten(found.values), looped_fisher(expected), rtol=1e-9, atol=1e-13)
        assert_close(block, dense_ggn(expected), rtol=1e-9, atol=1e-13)
