"""The block of a selection, gathered or multiplied, against the dense matrix."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.errors import NotApplicable
from app.unlearning.rows import empty
from app.unlearning.selection import Selection
from app.unlearning.solvers import (
    captured_block,
    conjugate_gradient,
    ggn_vector_product,
    solve_damped,
)
from app.unlearning.solvers.products import Products
from app.unlearning.solvers.selected_jacobian import SelectedJacobian
from tests.unlearning.curvature.networks import CLASSIFIERS, Case, classifier, regression
from tests.unlearning.curvature.oracles import dense_ggn


def _selection(case: Case, share: float = 0.3) -> tuple[Selection, Tensor]:
    """Return a random selection and its positions in the vector of all parameters."""
    generator = torch.Generator().manual_seed(5)
    masks = {
        name: torch.rand(p.shape, generator=generator) < share
        for name, p in case.model.named_parameters()
    }
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    return Selection(masks), flat.nonzero()[:, 0]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_captured_block_equals_the_dense_one(name: str) -> None:
    case = classifier(name, weighted=True)
    selection, chosen = _selection(case)
    block = captured_block(case.model, case.objective, case.rows, selection, batch_size=3)
    dense = dense_ggn(case)
    assert_close(block, dense[chosen][:, chosen], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_products_equal_those_with_the_dense_block(name: str) -> None:
    case = classifier(name, weighted=True)
    selection, chosen = _selection(case)
    multiply = ggn_vector_product(case.model, case.objective, case.rows, selection, batch_size=3)
    torch.manual_seed(2)
    vector = torch.randn(selection.count, dtype=torch.float64)
    dense = dense_ggn(case)
    assert_close(multiply(vector), dense[chosen][:, chosen] @ vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("held", [0, 3000, 1 << 28], ids=["none", "some", "all"])
def test_products_do_not_depend_on_what_is_kept(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.unlearning.solvers.gauss_newton_product._HELD_BYTES", held)
    case = classifier("relu mlp", weighted=True)
    selection, chosen = _selection(case)
    multiply = ggn_vector_product(case.model, case.objective, case.rows, selection, batch_size=2)
    dense = dense_ggn(case)[chosen][:, chosen]
    torch.manual_seed(2)
    for _ in range(3):
        vector = torch.randn(selection.count, dtype=torch.float64)
        assert_close(multiply(vector), dense @ vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "mean_squared_error"])
def test_other_losses_have_blocks_too(name: str) -> None:
    case = regression(name)
    selection, chosen = _selection(case)
    block = captured_block(case.model, case.objective, case.rows, selection)
    torch.manual_seed(2)
    vector = torch.randn(selection.count, dtype=torch.float64)
    product = ggn_vector_product(case.model, case.objective, case.rows, selection)(vector)
    assert_close(block, dense_ggn(case)[chosen][:, chosen], rtol=1e-9, atol=1e-12)
    assert_close(product, block @ vector, rtol=1e-9, atol=1e-12)


def test_the_block_can_be_taken_at_other_parameters() -> None:
    case = classifier("relu mlp")
    selection, chosen = _selection(case)
    moved = {n: p.detach() + 0.1 for n, p in case.model.named_parameters() if n != "0.bias"}
    before = [p.detach().clone() for p in case.model.parameters()]
    block = captured_block(case.model, case.objective, case.rows, selection, parameters=moved)
    multiply = ggn_vector_product(
        case.model, case.objective, case.rows, selection, parameters=moved
    )
    assert all(map(torch.equal, before, case.model.parameters()))
    with torch.no_grad():
        for name, value in moved.items():
            case.model.get_parameter(name).copy_(value)
    assert_close(block, dense_ggn(case)[chosen][:, chosen], rtol=1e-9, atol=1e-12)
    torch.manual_seed(2)
    vector = torch.randn(selection.count, dtype=torch.float64)
    assert_close(multiply(vector), block @ vector, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["relu mlp", "separate heads", "softmax regression"])
@pytest.mark.parametrize("ours", [True, False], ids=["multiplied", "gathered"])
def test_both_ways_to_the_block_agree(
    name: str, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def is_cheaper(products: Products, seeds: int) -> bool:
        asked.append(products.count)
        return ours

    monkeypatch.setattr(Products, "is_cheaper", is_cheaper)
    case = classifier(name, weighted=True)
    selection, chosen = _selection(case)
    block = captured_block(case.model, case.objective, case.rows, selection)
    assert asked
    assert_close(block, dense_ggn(case)[chosen][:, chosen], rtol=1e-9, atol=1e-12)


def test_the_products_of_a_few_weights_share_units(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def is_cheaper(products: Products, seeds: int) -> bool:
        counts.append(products.count)
        return True

    monkeypatch.setattr(Products, "is_cheaper", is_cheaper)
    case = classifier("relu mlp")
    weight, bias = (case.model.get_parameter(f"0.{kind}") for kind in ("weight", "bias"))
    masks = {n: torch.zeros_like(p, dtype=torch.bool) for n, p in case.model.named_parameters()}
    masks["0.weight"][2, :] = True
    masks["0.bias"][2] = True
    masks["0.weight"][0, 0] = True
    block = captured_block(case.model, case.objective, case.rows, Selection(masks))
    assert counts[0] == 2
    chosen = torch.cat([mask.flatten() for mask in masks.values()]).nonzero()[:, 0]
    assert len(chosen) == weight.shape[1] + 2
    assert len(bias) > 2
    assert_close(block, dense_ggn(case)[chosen][:, chosen], rtol=1e-9, atol=1e-12)


def test_nothing_of_a_pass_outlives_it() -> None:
    case = classifier("relu mlp")
    selection, _ = _selection(case)
    jacobian = SelectedJacobian(case.model, selection.touched(), {})
    gc.disable()
    try:
        recording = jacobian.record(next(iter(case.rows.batches(4))).inputs)
        assert recording is not None
        recording.columns(torch.ones_like(recording.outputs))
        assert recording.products is not None
        recording.products.gradients([torch.ones_like(recording.outputs)])
        remains = weakref.ref(recording.outputs)
        del recording
        assert remains() is None
    finally:
        gc.enable()


def test_kept_graphs_go_with_the_product() -> None:
    case = classifier("relu mlp")
    selection, _ = _selection(case)
    seen: list[weakref.ref[Tensor]] = []
    hook = case.model.register_forward_hook(lambda _, __, out: seen.append(weakref.ref(out)))
    gc.disable()
    try:
        multiply = ggn_vector_product(case.model, case.objective, case.rows, selection)
        multiply(torch.ones(selection.count, dtype=torch.float64))
        assert seen
        assert seen[0]() is not None
        del multiply
        assert seen[0]() is None
    finally:
        gc.enable()
        hook.remove()


def test_a_selection_in_one_layer_reads_that_layer_only() -> None:
    case = classifier("relu cnn with max-pool")
    weight = case.model.get_parameter("3.weight")
    masks = {"3.weight": torch.ones_like(weight, dtype=torch.bool)}
    block = captured_block(case.model, case.objective, case.rows, Selection(masks))
    start = sum(p.numel() for p in list(case.model.parameters())[:2])
    chosen = torch.arange(start, start + weight.numel())
    assert_close(block, dense_ggn(case)[chosen][:, chosen], rtol=1e-9, atol=1e-12)


def test_damped_solves_equal_direct_ones_and_conjugate_gradients() -> None:
    case = classifier("relu mlp", rows=8)
    selection, chosen = _selection(case)
    block = captured_block(case.model, case.objective, case.rows, selection)
    torch.manual_seed(2)
    right = torch.randn(selection.count, dtype=torch.float64)
    multiply = ggn_vector_product(case.model, case.objective, case.rows, selection)
    dense = dense_ggn(case)[chosen][:, chosen]
    dampings = (1e-3, 1e-2, 1.0)
    for damping, found in zip(dampings, solve_damped(block, right, dampings), strict=True):
        damped = dense + damping * torch.eye(len(dense), dtype=dense.dtype)
        assert found is not None
        assert_close(found, torch.linalg.solve(damped, right), rtol=1e-8, atol=1e-10)
        solve = conjugate_gradient(
            _damped(multiply, damping),
            right,
            tolerance=1e-12,
            max_steps=300,
            diagonal=block.diagonal() + damping,
        )
        assert_close(found, solve.solution, rtol=1e-6, atol=1e-8)


def _damped(multiply: Callable[[Tensor], Tensor], damping: float) -> Callable[[Tensor], Tensor]:
    return lambda vector: multiply(vector) + damping * vector


def test_a_singular_block_without_damping_has_no_solution() -> None:
    block = torch.zeros(3, 3)
    assert solve_damped(block, torch.ones(3), [0.0])[0] is None
    solution = solve_damped(block, torch.ones(3), [0.0, 2.0])[1]
    assert_close(solution, torch.full((3,), 0.5))


def test_empty_problems_are_refused() -> None:
    case = classifier("relu mlp")
    selection, _ = _selection(case)
    nothing = Selection({name: torch.zeros_like(m) for name, m in selection.masks.items()})
    with pytest.raises(NotApplicable):
        captured_block(case.model, case.objective, case.rows, nothing)
    with pytest.raises(NotApplicable):
        captured_block(case.model, case.objective, empty(), selection)
    with pytest.raises(NotApplicable):
        ggn_vector_product(case.model, case.objective, empty(), selection)
    unknown = Selection({"nowhere": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(NotApplicable, match="nowhere"):
        captured_block(case.model, case.objective, case.rows, unknown)
