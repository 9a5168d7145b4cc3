"""The method as a whole, on a network that memorised its rows."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from app.unlearning.architectures.blocks import Mean
from app.unlearning.distillation.head_split import split_head
from app.unlearning.distillation.material import FEWEST_HELD_OUT, gather
from app.unlearning.distillation.reference import fit_reference
from app.unlearning.errors import NotApplicable, NotConvincing
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows, empty
from app.unlearning.training import initialise, train
from app.unlearning.update import Update, apply_update, changed_scalars
from app.unlearning.verification.evaluation import evaluate
from app.unlearning.verification.membership import match, membership_auc
from tests.unlearning.distillation.overfitted import (
    OBJECTIVE,
    RECIPE,
    build,
    overfitted,
    signals,
    trained,
)

FREELY = {"refuse_above": None}
# As many as the network was trained for. A twentieth of so short a training pays for five, after
# which the reference is too unsure to say how much is lost; the judgement then refuses.
ENOUGH_PASSES = 40


def distil(problem: Problem, **parameters: object) -> Update:
    return make_method("reference_distillation", {**FREELY, **parameters}).unlearn(problem)  # type: ignore[dict-item]  # JSON values


def figures(model: nn.Module, problem: Problem) -> tuple[float, float, float]:
    assert problem.holdout is not None
    gone, held = (evaluate(model, OBJECTIVE, r) for r in (problem.forget, problem.holdout))
    assert gone.accuracy is not None
    return gone.accuracy, gone.loss, membership_auc(gone, held, match(gone, held))


def test_it_lands_nearer_to_retraining_than_doing_nothing_and_than_fine_tuning() -> None:
    problem = overfitted()
    update = distil(problem, passes=ENOUGH_PASSES)
    budget = {"gradient_budget": update.gradient_evaluations}
    tuned = make_method("fine_tune", budget).unlearn(problem)

    goal = figures(trained(retrained=True), problem)
    before = figures(problem.model, problem)
    after = figures(apply_update(problem.model, update), problem)
    beside = figures(apply_update(problem.model, tuned), problem)

    assert before[0] - goal[0] > 0.1  # there is something to forget
    for i in range(3):
        assert abs(after[i] - goal[i]) < 0.5 * abs(before[i] - goal[i])
    # In mean loss both are half a nat off, on either side.
    for i in (0, 2):
        assert abs(after[i] - goal[i]) < abs(beside[i] - goal[i])


def test_the_reference_never_sees_a_deleted_row() -> None:
    problem = overfitted()
    X, y = problem.forget.inputs, problem.forget.targets  # type: ignore[attr-defined]  # rows in memory
    other = replace(problem, forget=TensorRows(X.flip(0) * 2, (y + 1) % 4))

    heads = []
    for each in (problem, other):
        material = gather(each, None)
        heads.append(
            fit_reference(material.split.head, material.retained.rows, each.objective, 3, seed=5)
        )

    pairs = zip(heads[0].parameters(), heads[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("rule", ["energy", "warm", "decrement", "random", "curvature"])
def test_every_rule_moves_exactly_its_share_and_nothing_below_the_head(rule: str) -> None:
    problem = overfitted()
    update = distil(problem, mask=rule, fraction=0.05, steps=40, passes=2)
    count = int(0.05 * problem.parameter_count)
    assert update.selected == count
    changed = changed_scalars(problem.model, apply_update(problem.model, update))
    assert 0.5 * count < changed <= count
    assert set(update.values) <= {"5.weight", "5.bias", "7.weight", "7.bias"}


class Spare(nn.Linear):
    """A layer with a parameter that it never uses."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.load_state_dict(layer.state_dict())
        self.spare = nn.Parameter(torch.ones(50))


@pytest.mark.parametrize("rule", ["energy", "warm", "decrement", "random", "curvature"])
def test_a_parameter_that_is_never_used_stays_as_it_is(rule: str) -> None:
    problem = overfitted()
    layer = problem.model[7]  # type: ignore[index]  # a plain sequence
    problem.model[7] = Spare(layer)  # type: ignore[operator]  # as above
    update = distil(problem, mask=rule, fraction=1.0, steps=40, passes=2)
    assert "7.weight" in update.values
    spare = update.values.get("7.spare")
    assert spare is None or torch.equal(spare, torch.ones(50))


def test_a_fraction_larger_than_the_head_takes_the_head() -> None:
    problem = overfitted()
    update = distil(problem, fraction=1.0, head=1, steps=40, passes=2)
    assert update.selected == 32 * 4 + 4


def test_no_deleted_row_is_no_change() -> None:
    update = distil(replace(overfitted(), forget=empty()))
    assert not update.values
    assert update.selected == 0


def test_diagnostics_are_numbers_and_hold_judgement_and_targets() -> None:
    facts = distil(overfitted(), steps=40, passes=2).diagnostics
    assert all(isinstance(value, int | float) for value in facts.values())
    parts = ("forget_loss", "forget_accuracy", "membership_auc", "holdout_accuracy")
    with_doubts = [facts[f"judgement_{part}"] + facts.get(f"doubt_{part}", 0.0) for part in parts]  # type: ignore[operator]  # numbers
    assert facts["judgement"] == max(with_doubts)
    assert {f"{part}_wanted" for part in parts} <= set(facts)


def test_a_result_that_does_not_convince_itself_is_refused() -> None:
    problem = overfitted()
    judged = distil(problem, steps=40, passes=2).diagnostics["judgement"]
    assert isinstance(judged, float)
    with pytest.raises(NotConvincing) as caught:
        distil(problem, steps=40, passes=2, refuse_above=judged / 2)
    assert caught.value.judgement == judged
    assert caught.value.limit == judged / 2


def test_a_reference_fitted_too_briefly_is_refused() -> None:
    with pytest.raises(NotConvincing):
        distil(overfitted(), passes=5, refuse_above=1.0)


def test_half_of_a_class_lands_nearer_to_retraining_and_spares_unseen_rows() -> None:
    problem, goal = halved()
    before = figures(problem.model, problem)
    found = apply_update(problem.model, distil(problem, passes=ENOUGH_PASSES))
    after = figures(found, problem)
    assert before[0] - goal[0] > 0.2
    for i in range(3):
        assert abs(after[i] - goal[i]) < 0.5 * abs(before[i] - goal[i])
    held = [evaluate(m, OBJECTIVE, problem.holdout).accuracy for m in (problem.model, found)]  # type: ignore[arg-type]  # held-out rows are there
    assert held[1] > held[0] - 0.03  # type: ignore[operator]  # accuracies


def test_it_needs_held_out_rows_and_says_how_many() -> None:
    problem = overfitted()
    assert isinstance(problem.holdout, TensorRows)
    few = TensorRows(problem.holdout.inputs[:19], problem.holdout.targets[:19])
    for holdout in (None, few):
        with pytest.raises(NotApplicable, match=f"at least {FEWEST_HELD_OUT} held-out rows"):
            distil(replace(problem, holdout=holdout))


def test_below_a_hundred_held_out_rows_the_level_is_left_and_the_guard_is_wider() -> None:
    problem = overfitted()
    assert isinstance(problem.holdout, TensorRows)
    some = TensorRows(problem.holdout.inputs[:60], problem.holdout.targets[:60])
    many = distil(problem, steps=40, passes=2).diagnostics
    facts = distil(replace(problem, holdout=some), steps=40, passes=2).diagnostics
    assert facts["temperature"] == 1.0 != many["temperature"]
    assert facts["guard_standard_errors"] == 2 * many["guard_standard_errors"]  # type: ignore[operator]  # numbers


def test_corrections_and_regressions_are_refused() -> None:
    problem = overfitted()
    corrected = replace(problem, kind="label_correction", replacement=problem.forget)
    with pytest.raises(NotApplicable):
        distil(corrected)
    with pytest.raises(NotApplicable):
        distil(replace(problem, objective=Objective("mean_squared_error")))


def test_a_sample_of_the_retained_rows_is_enough() -> None:
    problem = overfitted()
    assert isinstance(problem.retained, TensorRows)
    sample = TensorRows(problem.retained.inputs[:500], problem.retained.targets[:500])
    goal = figures(trained(retrained=True), problem)
    before = figures(problem.model, problem)
    update = distil(replace(problem, retained=sample), passes=ENOUGH_PASSES)
    after = figures(apply_update(problem.model, update), problem)
    for i in (0, 2):
        assert abs(after[i] - goal[i]) < 0.5 * abs(before[i] - goal[i])
    # A reference that knows fewer rows finds the deleted ones harder than retraining would.
    assert abs(after[1] - goal[1]) < abs(before[1] - goal[1])


def test_a_logistic_loss_has_two_classes() -> None:
    X = torch.randn(400, 6, generator=torch.Generator().manual_seed(1))
    y = (X[:, 0] > 0).float()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).eval()
    problem = replace(on_new_rows(model, X, y), objective=Objective("binary_cross_entropy"))
    update = distil(problem, steps=40, passes=2)
    assert update.values
    assert set(split_head(model).names) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_text_network_moves_what_reads_its_embedding() -> None:
    draw = torch.Generator().manual_seed(2)
    words = torch.randint(0, 40, (400, 9), generator=draw)
    y = (words < 10).sum(1).clamp(max=2)
    layers = [nn.Embedding(40, 8), Mean(1), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)]
    problem = on_new_rows(nn.Sequential(*layers), words, y)
    update = distil(problem, steps=40, passes=2)
    assert set(update.values) <= {"2.weight", "2.bias", "4.weight", "4.bias"}
    assert update.values


def test_batch_norm_in_the_head_keeps_its_scale_trainable_and_gets_new_statistics() -> None:
    X, y = signals(400, 6)
    layers = [nn.Flatten(), nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)]
    model = nn.Sequential(*layers)
    problem = on_new_rows(model, X, y)
    update = distil(problem, steps=40, passes=2, fraction=1.0)
    assert {"2.weight", "2.bias"} <= set(update.values)
    wanted = X[20:300].flatten(1) @ model[1].weight.T + model[1].bias  # type: ignore[operator]  # a linear layer
    torch.testing.assert_close(update.buffers["2.running_mean"], wanted.mean(0).detach())


def halved() -> tuple[Problem, tuple[float, float, float]]:
    """The deletion of every second row of a class, and what retraining does to the rows."""
    X, y = signals(800, 3)
    gone = torch.zeros(800, dtype=torch.bool)
    gone[(y == 2).nonzero()[::2, 0]] = True
    retained = TensorRows(X[~gone], y[~gone])
    problem = replace(
        overfitted(),
        forget=TensorRows(X[gone], y[gone]),
        retained=retained,
        retained_total=len(retained),
        full_retained=None,
    )
    again = initialise(build, RECIPE.initialisation_seed)
    train(again, retained, OBJECTIVE, RECIPE)
    return problem, figures(again, problem)


def on_new_rows(model: nn.Module, X: torch.Tensor, y: torch.Tensor) -> Problem:
    return replace(
        overfitted(),
        model=model.eval(),
        forget=TensorRows(X[:20], y[:20]),
        retained=TensorRows(X[20:300], y[20:300]),
        retained_total=280,
        holdout=TensorRows(X[300:], y[300:]),
        recipe=None,
        full_retained=None,
        build=None,
    )
