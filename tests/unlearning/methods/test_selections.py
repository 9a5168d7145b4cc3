"""What a selection is made by, and what the methods make of all of it or none."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.curvature import empirical_fisher_diagonal, ggn_diagonal, hutchinson_diagonal
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods import make_method
from app.unlearning.methods.curvature_at_hand import Estimating, Wanted, curvature_at_hand
from app.unlearning.methods.ranking import Rule, select_ranked
from app.unlearning.problem import Problem, StoredCurvature
from app.unlearning.selection import Selection
from app.unlearning.update import JSON, Update, apply_update
from tests.unlearning.methods.problems import KINDS, flat, network, ridge


def touched_by(problem: Problem, update: Update) -> Tensor:
    """Which scalars have other bits, in one vector."""
    return flat(apply_update(problem.model, update)) != flat(problem.model)


def kept(problem: Problem, seed: int = 0) -> Problem:
    """The problem with some diagonal kept with the version: an order of the scalars."""
    draw = torch.Generator().manual_seed(seed)
    values = {
        name: torch.rand(tensor.shape, generator=draw, dtype=torch.float64)
        for name, tensor in problem.parameters.items()
    }
    return replace(problem, curvature=StoredCurvature(values, "ggn", 120))


@pytest.mark.parametrize("has_kept", [True, False])
@pytest.mark.parametrize("select", ["largest", "smallest"])
def test_the_mask_of_saps_does_not_depend_on_the_request(select: str, has_kept: bool) -> None:
    method = make_method("saps", {"fraction": 0.2, "select": select, "order": "first"})
    masks = []
    for kind in KINDS:
        problem = network(kind)
        problem = kept(problem) if has_kept else problem
        masks.append(touched_by(problem, method.unlearn(problem)))
    # A first-order step moves every selected scalar that has a gradient; three different masks
    # would be larger than one together.
    together = masks[0] | masks[1] | masks[2]
    assert 0.1 * len(together) < int(together.sum()) <= int(0.2 * len(together))


def test_saps_ranks_by_the_rows_the_network_was_trained_on() -> None:
    problem = network("label_correction")
    trained_on = replace(problem, retained=problem.original, replacement=problem.forget)
    expected = ggn_diagonal(problem.model, problem.objective, problem.original)
    assert expected.rows == 120 == problem.original_total
    update = make_method("saps", {"fraction": 0.05, "order": "first"}).unlearn(problem)
    changed = touched_by(problem, update)
    order = torch.cat([v.flatten() for v in expected.values.values()]).argsort(descending=True)
    assert set(changed.nonzero()[:, 0].tolist()) <= set(order[: update.selected].tolist())
    assert trained_on.nothing_changes


@pytest.mark.parametrize("estimator", get_args(Wanted))
@pytest.mark.parametrize("name", ["saps", "sparse_newton"])
def test_every_diagonal_can_be_asked_for(name: str, estimator: str) -> None:
    parameters: dict[str, JSON] = {"estimator": estimator, "draws": 3, "precision": "medium"}
    update = make_method(name, parameters | {"fraction": 0.02}).unlearn(network("deletion"))
    expected = "ggn" if estimator == "auto" else estimator
    assert update.diagnostics["estimator"] == expected
    assert update.parameters["estimator"] == estimator
    assert update.diagnostics["curvature_fallbacks"] == []


def test_a_diagonal_by_name_is_that_diagonal() -> None:
    problem = network("deletion")
    names, rows = tuple(problem.parameters), problem.edited
    for estimator, expected in (
        ("empirical_fisher", empirical_fisher_diagonal(problem.model, problem.objective, rows)),
        ("hutchinson", hutchinson_diagonal(problem.model, problem.objective, rows, draws=2)),
    ):
        how = Estimating(estimator, draws=2)  # type: ignore[arg-type]  # of the list above
        found = curvature_at_hand(problem, names, how=how)
        for name in names:
            assert_close(found.values[name], expected.values[name])
    # What is kept serves whoever wants nothing else.
    stored = kept(problem)
    for how, is_kept in (
        (Estimating(), True),
        (Estimating("ggn"), True),
        (Estimating("ggn", draws=2), False),
        (Estimating("empirical_fisher"), False),
    ):
        found = curvature_at_hand(stored, names, how=how)
        assert (found.gradient_evaluations == 0) is is_kept


def one_after_the_other(X: Tensor, g: Tensor, damping: float) -> Tensor:
    """Rank coordinates by when each gains the most beside those before it, the first highest."""
    A = torch.cat([X, torch.ones(len(X), 1, dtype=X.dtype)], 1)
    H = 2 * A.T @ A / len(A)
    H += (0.1 + damping * (H.diagonal() + 0.1).mean()) * torch.eye(len(H))
    score = torch.zeros_like(g)
    chosen: list[int] = []
    for rank in range(len(g)):
        gains = {
            i: float(g[s] @ torch.linalg.solve(H[s][:, s], g[s]))
            for i in range(len(g))
            if i not in chosen and (s := [*chosen, i])
        }
        chosen.append(max(gains, key=lambda i: gains[i]))
        score[chosen[-1]] = len(g) - rank
    return score


@pytest.mark.parametrize("rule", get_args(Rule))
def test_every_rule_ranks_by_what_it_says(rule: Rule) -> None:
    problem, X, _ = ridge("label_correction")
    names = ("weight", "bias")
    g = torch.cat([v.flatten() for v in EditedLoss(problem).gradient(problem.parameters).values()])
    found = curvature_at_hand(problem, names)
    h = torch.cat([found.values[name].flatten() for name in names])
    h = h + problem.objective.weight_decay
    score = {
        "decrement": g.square() / (h + 0.5 * h.mean()),
        "greedy": one_after_the_other(X, g, 0.5),
        "gradient": g.abs(),
        "largest": h,
        "smallest": -h,
    }[rule]

    chosen = select_ranked(problem, names, 3, "global", 0.5, Selection({}), rule=rule)

    mask = torch.zeros(6, dtype=torch.bool)
    mask[score.argsort(descending=True)[:3]] = True
    masks = {name: chosen.selection.masks.get(name) for name in names}
    weight = torch.zeros(5, dtype=torch.bool) if masks["weight"] is None else masks["weight"][0]
    bias = torch.zeros(1, dtype=torch.bool) if masks["bias"] is None else masks["bias"]
    assert torch.equal(torch.cat([weight, bias]), mask)
    assert (chosen.estimator == "") is (rule == "gradient")


@pytest.mark.parametrize("rule", get_args(Rule))
def test_what_is_kept_stays_whatever_the_scores_are(rule: Rule) -> None:
    problem, _, _ = ridge("label_correction")
    for position in range(5):
        mask = torch.zeros(1, 5, dtype=torch.bool)
        mask[0, position] = True
        chosen = select_ranked(
            problem, ("weight",), 2, "global", 0.5, Selection({"weight": mask}), rule=rule
        )
        assert chosen.selection.count == 2
        assert chosen.selection.masks["weight"][0, position]


def test_the_score_of_a_scalar_is_twice_what_moving_it_alone_gains() -> None:
    """On ridge regression the decrement of scalar i is g_i^2 / (2 h_i), to the last digits."""
    problem, _, _ = ridge("feature_correction")
    loss = EditedLoss(problem)
    at = {name: t.clone() for name, t in problem.parameters.items()}
    before, gradient = loss.loss_and_gradient(at)
    found = curvature_at_hand(problem, ("weight", "bias"))
    for position in range(5):
        g = float(gradient["weight"][0, position])
        h = float(found.values["weight"][0, position]) + problem.objective.weight_decay
        there = at["weight"].clone()
        there[0, position] -= g / h
        gained = before - loss.loss({**at, "weight": there})
        assert gained == pytest.approx(g * g / (2 * h), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("order", ["first", "second"])
def test_saps_on_everything_is_the_influence_update(order: str) -> None:
    for kind in KINDS:
        problem = network(kind)
        one = make_method("influence", {"order": order, "steps": 2}).unlearn(problem)
        other = make_method("saps", {"order": order, "steps": 2, "fraction": 1.0}).unlearn(problem)
        assert other.selected == problem.parameter_count
        assert one.values.keys() == other.values.keys()
        assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)


def test_sparse_newton_on_everything_is_fine_tuning_with_the_same_optimiser() -> None:
    problem = network("label_correction")
    tuned = make_method(
        "fine_tune", {"gradient_budget": 8 * 30, "batch_size": 30, "learning_rate": 0.01}
    ).unlearn(problem)
    sparse = make_method(
        "sparse_newton", {"fraction": 1.0, "solver": "adam", "iterations": 8, "batch_size": 30}
    ).unlearn(problem)
    assert tuned.values.keys() == sparse.values.keys()
    assert all(torch.equal(tuned.values[name], sparse.values[name]) for name in tuned.values)


@pytest.mark.parametrize("solver", ["block", "lbfgs", "adam"])
@pytest.mark.parametrize("select", get_args(Rule))
def test_the_rule_does_not_matter_where_everything_is_selected(select: str, solver: str) -> None:
    problem = network("deletion")
    parameters: dict[str, JSON] = {"fraction": 1.0, "solver": solver, "iterations": 3}
    one = make_method("sparse_newton", parameters).unlearn(problem)
    other = make_method("sparse_newton", parameters | {"select": select}).unlearn(problem)
    drawn = make_method("random_mask", {"fraction": 1.0, "solver": solver}).unlearn(problem)
    assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)
    assert drawn.selected == one.selected == problem.parameter_count


def test_a_mask_that_need_not_shrink_does_not_depend_on_what_it_would_keep() -> None:
    problem = network("label_correction")
    parameters: dict[str, JSON] = {"fraction": 1.0, "steps": 10}
    one, other = (
        make_method("shrinking_mask", parameters | {"ranking": ranking}).unlearn(problem)
        for ranking in ("curvature", "movement")
    )
    assert one.selected == other.selected == problem.parameter_count
    assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)


def test_a_distillation_into_the_whole_head_does_not_depend_on_the_rule() -> None:
    problem = network("deletion")
    results = [
        make_method(
            "reference_distillation",
            {"fraction": 1.0, "mask": rule, "steps": 20, "refuse_above": None},
        ).unlearn(problem)
        for rule in ("energy", "random", "curvature", "decrement")
    ]
    for other in results[1:]:
        assert all(
            torch.equal(value, other.values[name]) for name, value in results[0].values.items()
        )


@pytest.mark.parametrize("name", ["saps", "sparse_newton", "random_mask", "shrinking_mask"])
def test_the_share_that_may_change_goes_to_zero_one_scalar_at_a_time(name: str) -> None:
    problem = network("label_correction")
    for fraction, most in ((1e-9, 1), (0.005, 2), (0.01, 4)):
        update = make_method(name, {"fraction": fraction}).unlearn(problem)
        assert update.selected == most
        assert int(touched_by(problem, update).sum()) <= most


def test_more_rounds_than_scalars_are_as_many_as_scalars() -> None:
    problem = network("label_correction")
    update = make_method("sparse_newton", {"fraction": 0.005, "reselections": 5}).unlearn(problem)
    assert update.selected == 2
    assert len(update.diagnostics["solvers"]) == 2  # type: ignore[arg-type]  # a list
