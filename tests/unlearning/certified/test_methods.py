"""The certified methods: what they claim, and what they refuse to claim it of."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.certified import convex_part, setting_of
from app.unlearning.errors import BudgetSpent, NotApplicable
from app.unlearning.methods import make_method
from app.unlearning.objective import LossName, Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.recipe import Perturbation, Recipe
from app.unlearning.rows import Rows, TensorRows, concatenate, empty
from app.unlearning.update import JSON, Update, apply_update
from tests.unlearning.certified.trained import (
    DEVIATION,
    Case,
    edited,
    layer_of,
    noisy_recipe,
    published,
    random_bytes,
    theta_of,
    with_recipe,
)
from tests.unlearning.methods.problems import KINDS

LOSSES: tuple[LossName, ...] = ("binary_cross_entropy", "cross_entropy", "mean_squared_error")
GONE, KEPT = torch.arange(12), torch.arange(12, 300)
BY_NOISE = ("certified_update", "certified_removal")
CASE = Case()


def numbers(update: Update) -> Mapping[str, float]:
    assert update.certified is not None
    return {k: v for k, v in update.certified.items() if isinstance(v, int | float)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("charge", ["measured", "data_dependent"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_left_of_the_noisy_gradient_is_at_most_what_is_charged(
    kind: Kind, loss: LossName, charge: str, dtype: torch.dtype
) -> None:
    case = Case(loss=loss, dtype=dtype)
    problem = case.problem(GONE, KEPT, kind=kind, spent=case.residual(case.model, _all(case)))

    update = make_method("certified_update", {"charge": charge}).unlearn(problem)

    found = numbers(update)
    left = case.residual(published(problem, update), edited(problem))
    # The noise is not among what the method was given; it was read off the parameters.
    assert left <= found["spent"] * (1 + 1e-6) + 1e-9
    assert left < float(update.diagnostics["residual_untouched"]) / 20  # type: ignore[arg-type]  # a number
    assert found["spent"] == found["spent_before"] + found["bound"]
    assert found["left"] == pytest.approx(found["limit"] - found["spent"])
    assert 0 <= found["epsilon_reached"] <= found["epsilon"] == 1.0
    assert update.assurance == "certified"


def _all(case: Case) -> Rows:
    return case.rows(torch.arange(len(case.X)))


@pytest.mark.parametrize("charge", ["data_dependent", "worst_case"])
@pytest.mark.parametrize("loss", LOSSES)
def test_removal_is_charged_by_a_bound_above_what_is_left(loss: LossName, charge: str) -> None:
    case = Case(loss=loss, deviation=300.0)
    problem = case.problem(GONE[:1], torch.arange(1, 300))

    update = make_method("certified_removal", {"charge": charge}).unlearn(problem)

    left = case.residual(published(problem, update), edited(problem))
    assert left <= numbers(update)["bound"]
    residual = update.diagnostics["residual"]
    assert isinstance(residual, float)
    assert left == pytest.approx(residual, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_second_order_leaves_less_than_the_first_and_more_steps_less_still(seed: int) -> None:
    drawn = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
    problem = CASE.problem(drawn[: 5 + 10 * seed], drawn[5 + 10 * seed :])

    # A promise so weak that nothing is refused.
    weak: dict[str, JSON] = {"epsilon": 100.0}

    def left(**parameters: JSON) -> float:
        method = make_method("certified_update", weak | parameters)
        return numbers(method.unlearn(problem))["bound"]

    untouched = make_method("certified_update", weak).unlearn(problem).diagnostics
    assert isinstance(untouched["residual_untouched"], float)
    first, second, three = left(order="first"), left(), left(steps=3)
    assert three < second < first < untouched["residual_untouched"]
    assert three < 1e-9


def test_epsilon_follows_the_spending() -> None:
    """What is claimed after the update is what the exact curve says of everything that is left."""
    problem = CASE.problem(GONE, KEPT, spent=1.0)
    found = numbers(make_method("certified_update", {"epsilon": 2.0}).unlearn(problem))
    assert found["spent_before"] == 1.0
    assert found["spent"] > 1.0
    assert found["noise"] == DEVIATION
    assert 0 < found["epsilon_reached"] < 2.0


@pytest.mark.parametrize("name", BY_NOISE)
def test_a_spent_budget_is_refused_with_its_numbers(name: str) -> None:
    problem = CASE.problem(GONE, KEPT)
    limit = numbers(make_method(name, {}).unlearn(problem))["limit"]
    spent = replace(problem, spent=limit)

    with pytest.raises(BudgetSpent) as caught:
        make_method(name, {}).unlearn(spent)

    assert caught.value.name == "residual"
    assert caught.value.used > caught.value.limit == pytest.approx(limit)


def test_a_stricter_promise_has_a_smaller_budget() -> None:
    problem = CASE.problem(GONE, KEPT)
    limits = [
        numbers(make_method("certified_update", parameters).unlearn(problem))["limit"]
        for parameters in ({"epsilon": 0.5}, {"epsilon": 1.0}, {"epsilon": 1.0, "delta": 1e-3})
    ]
    assert limits == sorted(limits)


# ------------------------------------------------------------------ what is refused


def without_noise() -> Problem:
    zero = torch.zeros_like(CASE.b)
    model = layer_of(CASE.optimum(_all(CASE), zero))
    return CASE.problem(GONE, KEPT, model=model)


def not_at_the_optimum() -> Problem:
    generator = torch.Generator().manual_seed(1)
    away = theta_of(CASE.model) + 10 * torch.randn(CASE.b.shape, generator=generator).double()
    return CASE.problem(GONE, KEPT, model=layer_of(away))


def on_other_rows() -> Problem:
    """A fifth of the rows it is said to be trained on were not there."""
    case = Case(deviation=0.1)
    fewer = layer_of(case.optimum(case.rows(torch.arange(240)), case.b))
    return case.problem(GONE, KEPT, model=fewer)


def with_a_hidden_layer() -> Problem:
    model = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 1)).double().eval()
    return CASE.problem(GONE, KEPT, model=model)


REFUSED = {
    "trained without the noise": without_noise,
    "with other noise": lambda: with_recipe(
        CASE.problem(GONE, KEPT), noisy_recipe(100 * DEVIATION)
    ),
    "not trained to the optimum": not_at_the_optimum,
    "on other rows": on_other_rows,
    "no recipe": lambda: with_recipe(CASE.problem(GONE, KEPT), None),
    "no noise declared": lambda: with_recipe(
        CASE.problem(GONE, KEPT), Recipe("lbfgs", 1.0, 100, 100)
    ),
    "no weight decay": lambda: replace(
        CASE.problem(GONE, KEPT), objective=Objective("binary_cross_entropy", 0.0)
    ),
    "a hidden layer": with_a_hidden_layer,
    "rows not known": lambda: replace(CASE.problem(GONE, KEPT), untouched=None),
    "residual not known": lambda: replace(CASE.problem(GONE, KEPT), spent=None),
    "nothing left": lambda: replace(CASE.problem(torch.arange(300), GONE), untouched=empty),
}


@pytest.mark.parametrize("name", BY_NOISE)
@pytest.mark.parametrize("why", REFUSED)
def test_no_proof_is_claimed(name: str, why: str) -> None:
    with pytest.raises(NotApplicable):
        make_method(name, {}).unlearn(REFUSED[why]())


def test_removal_does_not_correct() -> None:
    with pytest.raises(NotApplicable):
        make_method("certified_removal", {}).unlearn(
            CASE.problem(GONE, KEPT, kind="label_correction")
        )


@pytest.mark.parametrize("seed", range(20))
def test_honest_noise_is_recognised(seed: int) -> None:
    case = Case(seed=seed, rows=60)
    setting = setting_of(case.problem(GONE, KEPT[KEPT < 60]), 1.0, 1e-5)
    assert setting.after.linear is not None
    assert_close(setting.after.linear, case.b, rtol=0.0, atol=1e-8)


# ------------------------------------------------------------------ a head on fixed features


class Frozen(Case):
    """The same rows seen through fixed layers, with batch norm, that were never fitted to them."""

    def __init__(self) -> None:
        super().__init__(dtype=torch.float64)
        torch.manual_seed(4)
        self.body = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh()).double().eval()
        self.head_b = 15.0 * torch.randn(1, 8, generator=torch.Generator().manual_seed(5)).double()
        seen = self.seen(_all(self))
        head = layer_of(self.optimum(seen, self.head_b))
        self.network = nn.Sequential(*self.body, head).eval()

    def seen(self, rows: Rows) -> Rows:
        batch = rows.take(torch.arange(len(rows)))
        with torch.no_grad():
            return TensorRows(self.body(batch.inputs), batch.targets)

    def whole(self, kind: Kind = "deletion") -> Problem:
        recipe = Recipe(
            "lbfgs", 1.0, 300, 200, trained="last_layer", perturbation=Perturbation(15.0, 0.0)
        )
        problem = self.problem(GONE, KEPT, kind=kind, model=self.network)
        return replace(problem, recipe=recipe, build=self.fresh)

    def fresh(self) -> nn.Module:
        layers = (nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.Linear(7, 1))
        return nn.Sequential(*layers).double()


@pytest.mark.parametrize("name", BY_NOISE)
def test_a_head_on_fixed_features_is_a_linear_model_on_them(name: str) -> None:
    frozen = Frozen()
    problem = frozen.whole()

    update = make_method(name, {}).unlearn(problem)

    assert set(update.values) == {"3.weight", "3.bias"}
    assert not update.buffers
    head = published(problem, update)[3]  # type: ignore[index]  # Sequential
    residual = frozen.summed(frozen.seen(edited(problem)), frozen.head_b).gradient(theta_of(head))
    assert float(residual.norm()) <= numbers(update)["spent"] + 1e-9
    assert float(residual.norm()) < 0.05


def test_layers_that_were_trained_too_forbid_the_proof() -> None:
    frozen = Frozen()
    problem = replace(frozen.whole(), recipe=noisy_recipe(15.0))
    with pytest.raises(NotApplicable, match="left them alone"):
        make_method("certified_update", {}).unlearn(problem)


def test_retraining_leaves_fixed_layers_alone() -> None:
    frozen = Frozen()
    problem = frozen.whole()
    plain = replace(problem, recipe=Recipe("lbfgs", 1.0, 300, 500, trained="last_layer"))

    noisy = make_method("retrain", {}).unlearn(problem)
    quiet = make_method("retrain", {}).unlearn(plain)

    for update in (noisy, quiet):
        assert set(update.values) == {"3.weight", "3.bias"}
        assert not update.buffers
        assert update.assurance == "exact"
    seen = frozen.seen(edited(problem))
    wanted = frozen.optimum(seen, torch.zeros_like(frozen.head_b))
    head = apply_update(problem.model, quiet)[3]  # type: ignore[index]  # Sequential
    assert_close(theta_of(head), wanted, rtol=0.0, atol=1e-5)
    assert not torch.allclose(theta_of(published(problem, noisy)[3]), wanted, atol=1e-2)  # type: ignore[index]


# ------------------------------------------------------------------ training again


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_retraining_draws_fresh_noise_and_says_what_it_left(dtype: torch.dtype) -> None:
    case = Case(dtype=dtype)
    problem = case.problem(GONE, KEPT, spent=1e9)

    one = make_method("retrain", {}).unlearn(problem)
    two = make_method("retrain", {}).unlearn(replace(problem, random_bytes=random_bytes(77)))

    noises = []
    for update in (one, two):
        assert update.assurance == "exact"
        theta = theta_of(published(problem, update))
        noises.append(-case.summed(edited(problem)).gradient(theta))
        found = numbers(update)
        assert found["spent_before"] == 0.0
        assert found["spent"] < (1e-9 if dtype == torch.float64 else 1e-4)
        assert update.certified is not None
        assert update.certified["mechanism"] == "objective_perturbation"
    assert float((noises[0] - noises[1]).norm()) > 0.1 * DEVIATION
    assert float((noises[0] - case.b).norm()) > 0.1 * DEVIATION
    # What follows can be certified again, from almost nothing spent.
    again = case.problem(
        KEPT[:3], KEPT[3:], model=published(problem, one), spent=numbers(one)["spent"]
    )
    assert make_method("certified_update", {}).unlearn(again).assurance == "certified"


def test_retraining_on_unknown_rows_leaves_the_residual_unknown() -> None:
    problem = replace(CASE.problem(GONE, KEPT), untouched=None)
    update = make_method("retrain", {}).unlearn(problem)
    assert update.certified is not None
    assert update.certified["spent"] is None


def test_a_network_cannot_be_trained_with_noise() -> None:
    with pytest.raises(NotApplicable):
        make_method("retrain", {}).unlearn(with_a_hidden_layer())


# ------------------------------------------------------------------ invariants


def test_how_rows_are_cut_into_batches_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = CASE.problem(GONE, KEPT)
    whole = make_method("certified_removal", {}).unlearn(problem)
    monkeypatch.setattr("app.unlearning.certified.summed_objective._BATCH", 7)
    cut = make_method("certified_removal", {}).unlearn(problem)
    assert_close(cut.values["weight"], whole.values["weight"], rtol=0.0, atol=1e-12)
    assert numbers(cut)["bound"] == pytest.approx(numbers(whole)["bound"], rel=1e-9)


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = KEPT[torch.randperm(len(KEPT), generator=torch.Generator().manual_seed(3))]
    one, two = (
        make_method("certified_update", {}).unlearn(CASE.problem(GONE, kept))
        for kept in (KEPT, shuffled)
    )
    assert_close(one.values["weight"], two.values["weight"], rtol=0.0, atol=1e-12)


def test_nothing_to_correct_changes_nothing_and_costs_nothing() -> None:
    problem = CASE.problem(GONE, KEPT, kind="label_correction", spent=0.5)
    update = make_method("certified_update", {}).unlearn(
        replace(problem, replacement=problem.forget)
    )
    assert not update.values
    assert numbers(update)["bound"] == 0.0
    assert numbers(update)["spent"] == 0.5


def test_a_correction_there_and_back_returns() -> None:
    there = CASE.problem(GONE, KEPT, kind="label_correction")
    three = make_method("certified_update", {"steps": 4})
    moved = published(there, three.unlearn(there))
    back = replace(there, model=moved, forget=there.replacement, replacement=there.forget)
    again = published(back, three.unlearn(back))
    assert not torch.allclose(theta_of(moved), theta_of(CASE.model), atol=1e-3)
    assert_close(theta_of(again), theta_of(CASE.model), rtol=0.0, atol=1e-9)


# ------------------------------------------------------------------ noise on what is published


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_descent_ends_within_its_bound_wherever_it_begins(loss: LossName, kind: Kind) -> None:
    case = Case(loss=loss)
    problem = case.problem(GONE, KEPT, kind=kind)
    elsewhere = replace(problem, model=layer_of(theta_of(case.model) + 1.0))

    here, there = (
        make_method("certified_descent", {}).unlearn(start) for start in (problem, elsewhere)
    )

    # The same bytes, so the same noise: what differs is what the start has left.
    apart = theta_of(published(problem, here)) - theta_of(published(elsewhere, there))
    assert float(apart.norm()) <= 2 * numbers(here)["bound"]
    wanted = case.optimum(edited(problem), torch.zeros_like(case.b))
    away = float((theta_of(published(problem, here)) - wanted).norm())
    noise = numbers(here)["noise"]
    assert away == pytest.approx(noise * case.b.numel() ** 0.5, rel=0.8)
    assert numbers(here)["delta_reached"] <= 1e-6 * (1 + 1e-9)
    assert here.assurance == "certified"


def test_descent_needs_no_noise_in_training_and_forgets_the_budget() -> None:
    quiet = with_recipe(replace(without_noise(), untouched=None, spent=None), None)
    update = make_method("certified_descent", {}).unlearn(quiet)
    assert numbers(update)["epsilon"] == 1.0


def test_descent_draws_noise_nobody_can_draw_again() -> None:
    problem = CASE.problem(GONE, KEPT)
    fresh = Problem(**{
        field: getattr(problem, field)
        for field in problem.__dataclass_fields__
        if field != "random_bytes"
    })
    one, two = (make_method("certified_descent", {}).unlearn(fresh) for _ in range(2))
    assert not torch.equal(one.values["weight"], two.values["weight"])


def test_descent_on_a_sample_of_the_rows_is_refused() -> None:
    problem = replace(CASE.problem(GONE, KEPT), full_retained=None, retained_total=1000)
    with pytest.raises(NotApplicable):
        make_method("certified_descent", {}).unlearn(problem)


def test_a_linear_layer_without_bias_is_a_linear_layer() -> None:
    layer = nn.Linear(3, 2, bias=False).double()
    part = convex_part(nn.Sequential(nn.Flatten(), layer), Objective("cross_entropy", 0.1), "all")
    assert part.bias is None
    assert torch.equal(part.values(part.theta)["1.weight"], layer.weight)
    doubled: Tensor = part.values(2 * part.theta)["1.weight"]
    assert torch.equal(doubled, 2 * layer.weight)
    rows = concatenate(TensorRows(torch.ones(4, 3).double(), torch.zeros(4, dtype=torch.int64)))
    assert part.summed(rows).gradient(part.theta).shape == (2, 3)
