"""The diagonals against dense matrices and single rows."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from app.unlearning.curvature import (
    choose_estimator,
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    sketched_ggn_diagonal,
    squared_gradients,
)
from app.unlearning.errors import NonFinite, NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows, empty
from tests.unlearning.curvature.networks import (
    CLASSIFIERS,
    PIECEWISE_LINEAR,
    WITHOUT_RULES,
    Case,
    classifier,
    regression,
)
from tests.unlearning.curvature.oracles import dense_ggn, dense_hessian, flatten, looped_fisher

# Double precision throughout: what is left is the rounding of sums of a few hundred terms.
assert_equal = partial(assert_close, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_fisher_equals_squared_gradients_of_single_rows(name: str) -> None:
    case = classifier(name, weighted=True)
    found = empirical_fisher_diagonal(case.model, case.objective, case.rows, batch_size=3)
    assert_equal(flatten(found.values), looped_fisher(case))
    assert found.rows == 5
    assert found.exact


@pytest.mark.parametrize("name", sorted(set(CLASSIFIERS) - {"lstm"}))
def test_ggn_equals_the_dense_matrix(name: str) -> None:
    case = classifier(name, weighted=True)
    found = ggn_diagonal(case.model, case.objective, case.rows, batch_size=3)
    assert_equal(flatten(found.values), dense_ggn(case).diagonal())


@pytest.mark.parametrize("name", sorted(PIECEWISE_LINEAR))
def test_ggn_is_the_hessian_of_piecewise_linear_networks(name: str) -> None:
    case = classifier(name)
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert_equal(flatten(found.values), dense_hessian(case).diagonal())


@pytest.mark.parametrize("name", ["binary_cross_entropy", "mean_squared_error"])
def test_other_losses_equal_the_hessian_too(name: str) -> None:
    case = regression(name)
    found = ggn_diagonal(case.model, case.objective, case.rows, batch_size=4)
    assert_equal(flatten(found.values), dense_hessian(case).diagonal())
    fisher = empirical_fisher_diagonal(case.model, case.objective, case.rows, batch_size=4)
    assert_equal(flatten(fisher.values), looped_fisher(case))


def test_logistic_regression_has_its_textbook_diagonal() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(20, 3, dtype=torch.float64)
    model = nn.Linear(3, 1).double()
    rows = TensorRows(inputs, torch.zeros(20, dtype=torch.float64))
    found = ggn_diagonal(model, Objective("binary_cross_entropy", weight_decay=1.0), rows)
    p = torch.sigmoid(model(inputs)).detach()
    # Weight decay is left out, whatever the objective says.
    assert_equal(found.values["weight"][0], (p * (1 - p) * inputs**2).mean(0))
    assert_equal(found.values["bias"], (p * (1 - p)).mean(0))


@pytest.mark.parametrize("name", ["relu mlp", "attention", "lstm"])
def test_float32_agrees_with_the_batch_of_one_to_a_millionth(name: str) -> None:
    case = classifier(name, rows=12)
    exact = looped_fisher(case)
    case.model.float()
    inputs = case.rows.inputs
    single = TensorRows(inputs.float() if inputs.is_floating_point() else inputs, case.rows.targets)
    found = flatten(empirical_fisher_diagonal(case.model, case.objective, single).values)
    assert float((found.double() - exact).norm() / exact.norm()) < 1e-6


@pytest.mark.parametrize("name", sorted(WITHOUT_RULES))
def test_what_the_rules_cannot_do_is_found_out(name: str) -> None:
    case = classifier(name)
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert found.fallbacks


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_comparing_one_parameter_after_the_other_finds_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = classifier(name)
    whole = ggn_diagonal(case.model, case.objective, case.rows)
    largest = max(parameter.numel() for parameter in case.model.parameters())
    monkeypatch.setattr(squared_gradients, "MOST_COMPARED", largest)
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert found.fallbacks == whole.fallbacks
    assert_equal(flatten(found.values), flatten(whole.values))


@pytest.mark.parametrize("name", sorted(set(CLASSIFIERS) - WITHOUT_RULES))
def test_the_rules_are_used_where_they_hold(name: str) -> None:
    case = classifier(name)
    assert not ggn_diagonal(case.model, case.objective, case.rows).fallbacks


def test_the_fallback_names_parameter_and_operation() -> None:
    case = classifier("parameter in einsum")
    found = ggn_diagonal(case.model, case.objective, case.rows)
    named = {sentence.split(":")[0] for sentence in found.fallbacks}
    assert named == {"mixing"}
    assert len(found.fallbacks) == 1


@pytest.mark.parametrize("name", ["relu mlp", "residual cnn", "tied attention", "lstm"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_how_rows_are_cut_into_batches_changes_nothing(name: str, size: int) -> None:
    case = classifier(name, rows=7, weighted=True)
    model, objective, rows = case.model, case.objective, case.rows
    for estimate in (ggn_diagonal, sketched_ggn_diagonal, empirical_fisher_diagonal):
        whole = estimate(model, objective, rows, batch_size=4)
        cut = estimate(model, objective, rows, batch_size=size)
        assert_equal(flatten(cut.values), flatten(whole.values))


def test_positions_as_many_as_rows_are_told_apart() -> None:
    # Five positions: in a batch of five rows their indices look like one token per row.
    case = classifier("attention", rows=7)
    found = empirical_fisher_diagonal(case.model, case.objective, case.rows, batch_size=5)
    assert not found.fallbacks
    assert_equal(flatten(found.values), looped_fisher(case))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_same_padding_of_even_kernels_is_asymmetric() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, (2, 4), padding="same"), nn.Flatten(), nn.Linear(60, 3))
    inputs, labels = torch.randn(4, 2, 4, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    case = Case(model.double(), Objective("cross_entropy"), TensorRows(inputs, labels))
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert not found.fallbacks
    assert_equal(flatten(found.values), dense_hessian(case).diagonal())


def test_a_weight_of_two_counts_a_row_twice() -> None:
    case = classifier("relu mlp", rows=3)
    twice = torch.tensor([0, 1, 1, 2])
    repeated = TensorRows(case.rows.inputs[twice], case.rows.targets[twice])
    weights = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    weighted = TensorRows(case.rows.inputs, case.rows.targets, weights)
    for estimate in (ggn_diagonal, empirical_fisher_diagonal):
        expected = estimate(case.model, case.objective, repeated)
        found = estimate(case.model, case.objective, weighted)
        assert_equal(flatten(found.values), flatten(expected.values))


@pytest.mark.parametrize("name", ["relu mlp", "tied attention"])
def test_the_sketch_is_unbiased(name: str) -> None:
    case = classifier(name, rows=4)
    seeds = 200
    draws = torch.stack([
        flatten(sketched_ggn_diagonal(case.model, case.objective, case.rows, seed=s).values)
        for s in range(seeds)
    ])
    exact = dense_ggn(case).diagonal()
    error = (draws.mean(0) - exact) / (draws.std(0) / seeds**0.5 + 1e-12)
    # Of d standard scores the largest stays below 5 except with probability d * 6e-7, and their
    # mean square is 1 up to the correlation between parameters.
    assert float(error.abs().max()) < 5
    assert float(error.square().mean()) < 2


def test_more_draws_come_closer_and_seeds_repeat() -> None:
    case = classifier("relu mlp", rows=5)
    exact = dense_ggn(case).diagonal()

    def error(draws: int) -> float:
        gaps = [
            flatten(
                sketched_ggn_diagonal(
                    case.model, case.objective, case.rows, draws=draws, seed=s
                ).values
            )
            - exact
            for s in range(20)
        ]
        return float(torch.stack(gaps).norm())

    # The error falls as one over the root of the draws: by 4 here.
    assert error(16) < 0.4 * error(1)
    one = sketched_ggn_diagonal(case.model, case.objective, case.rows, draws=3, seed=9)
    two = sketched_ggn_diagonal(case.model, case.objective, case.rows, draws=3, seed=9)
    assert torch.equal(flatten(one.values), flatten(two.values))
    assert (one.draws, one.seed, one.exact) == (3, 9, False)


def test_a_sketch_of_one_output_is_exact() -> None:
    case = regression("binary_cross_entropy")
    found = sketched_ggn_diagonal(case.model, case.objective, case.rows)
    exact = ggn_diagonal(case.model, case.objective, case.rows)
    assert_equal(flatten(found.values), flatten(exact.values))


@pytest.mark.parametrize("name", ["relu mlp", "attention", "grouped cnn"])
def test_hutchinson_converges_to_the_hessian(name: str) -> None:
    case = classifier(name, rows=3, weighted=True)
    probes = 200
    found = hutchinson_diagonal(case.model, case.objective, case.rows, draws=probes, batch_size=2)
    dense = dense_hessian(case)
    # Variance of v_i (H v)_i over random signs: the squares of the off-diagonal entries of row i.
    spread = (dense.square().sum(1) - dense.diagonal().square()).clamp(min=0).sqrt()
    error = (flatten(found.values) - dense.diagonal()).abs()
    assert bool((error <= 5 * spread / probes**0.5 + 1e-9).all())


def test_results_land_in_the_tensors_of_the_caller() -> None:
    case = classifier("relu mlp")
    out = {n: torch.full_like(p, 7.0).detach() for n, p in case.model.named_parameters()}
    found = ggn_diagonal(case.model, case.objective, case.rows, out=out)
    assert all(found.values[name] is out[name] for name in out)
    fresh = ggn_diagonal(case.model, case.objective, case.rows)
    assert_equal(flatten(out), flatten(fresh.values))
    del out["0.weight"]
    with pytest.raises(NotApplicable, match=r"0\.weight"):
        ggn_diagonal(case.model, case.objective, case.rows, out=out)


def test_the_network_is_left_as_it_was() -> None:
    case = classifier("residual cnn")
    case.model.train()
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    ggn_diagonal(case.model, case.objective, case.rows)
    assert all(module.training for module in case.model.modules())
    assert all(torch.equal(t, before[n]) for n, t in case.model.state_dict().items())
    assert all(p.grad is None for p in case.model.parameters())


def test_frozen_parameters_take_no_part() -> None:
    case = classifier("relu mlp")
    everything = ggn_diagonal(case.model, case.objective, case.rows).values
    case.model.get_parameter("2.weight").requires_grad_(False)
    case.model.get_parameter("4.bias").requires_grad_(False)
    some = ggn_diagonal(case.model, case.objective, case.rows).values
    assert set(everything) - set(some) == {"2.weight", "4.bias"}
    for name, value in some.items():
        assert_equal(value, everything[name])


def test_batch_statistics_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False))
    rows = TensorRows(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(NotApplicable, match="batch norm"):
        ggn_diagonal(model, Objective("cross_entropy"), rows)


def test_no_rows_and_no_numbers_are_refused() -> None:
    case = classifier("relu mlp")
    with pytest.raises(NotApplicable):
        ggn_diagonal(case.model, case.objective, empty())
    broken = TensorRows(case.rows.inputs * float("nan"), case.rows.targets)
    with pytest.raises(NonFinite):
        empirical_fisher_diagonal(case.model, case.objective, broken)


def test_parameters_that_only_share_memory_are_refused() -> None:
    case = classifier("layer used twice")
    head = nn.Linear(4, 4).double()
    head.weight = nn.Parameter(case.model.get_parameter("layer.weight").data)
    model = nn.Sequential(case.model.get_submodule("layer"), head)
    with pytest.raises(NotApplicable, match="share memory"):
        ggn_diagonal(model, case.objective, case.rows)


def test_the_exact_diagonal_is_chosen_where_it_is_cheap() -> None:
    for name in ("relu mlp", "relu cnn with max-pool"):
        assert choose_estimator(classifier(name).model, Objective("cross_entropy")) == "ggn"
    assert choose_estimator(nn.Linear(3, 1000), Objective("cross_entropy")) == "sketch"
    assert choose_estimator(nn.Linear(3, 1000), Objective("cross_entropy"), 2) == "ggn"
    assert choose_estimator(nn.ReLU(), Objective("mean_squared_error")) == "sketch"
    big = nn.Sequential(nn.Conv2d(64, 512, 3), nn.Flatten(), nn.Linear(512, 10))
    assert choose_estimator(big, Objective("cross_entropy")) == "sketch"


def _memory_case(rows: int) -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3))
    labels = torch.randint(0, 3, (rows,))
    return Case(model, Objective("cross_entropy"), TensorRows(torch.randn(rows, 4), labels))


def test_batches_can_come_from_a_generator() -> None:
    case = _memory_case(10)
    streamed = ggn_diagonal(case.model, case.objective, iter(case.rows.batches(3)))
    whole = ggn_diagonal(case.model, case.objective, case.rows)
    assert streamed.rows == 10
    assert_close(flatten(streamed.values), flatten(whole.values))
