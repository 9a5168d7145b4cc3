"""What becomes of a method's update: statistics, references, controls, verdict, report."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from app.domain.errors import FenceLost
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import TensorRows, empty
from app.unlearning.verification import RowSets
from app.unlearning.verification.evaluation import baseline
from workers.account import Account
from workers.loading import Loaded
from workers.reporting import baseline_of, only_finite, report_of
from workers.verifying import network_of, verify

FEATURES, CLASSES = 4, 3


def build() -> nn.Module:
    return nn.Sequential(
        nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES)
    )


def some_rows(count: int, seed: int) -> TensorRows:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return TensorRows(inputs, inputs[:, :CLASSES].argmax(1))


def problem_of(**changes: Any) -> Problem:
    torch.manual_seed(0)
    retained = some_rows(60, 1)
    given: dict[str, Any] = {
        "model": build().eval(),
        "objective": Objective("cross_entropy"),
        "kind": "deletion",
        "forget": some_rows(12, 2),
        "replacement": empty(),
        "retained": retained,
        "retained_total": 60,
        "holdout": some_rows(40, 3),
        "recipe": Recipe("sgd", 0.1, 20, 2),
        "full_retained": lambda: retained,
        "build": build,
    }
    return Problem(**(given | changes))


def account() -> Account:
    lease: Any = SimpleNamespace(report=lambda *_: None, check=lambda: None, started=0.0)
    return Account(lease)


def loaded(problem: Problem) -> Loaded:
    sets = RowSets(problem.forget, problem.retained, problem.holdout, problem.forget)
    return Loaded(problem, sets)


def policy(**changes: Any) -> dict[str, Any]:
    return {"verification": {"reference": "none", "controls": []}, "gates": {}} | changes


def test_batch_norm_statistics_are_those_of_the_retained_rows() -> None:
    problem = problem_of()
    update = make_method("fine_tune", {"epochs": 1}).unlearn(problem)
    result, rows = network_of(problem, update)
    assert rows == 60
    hidden = result[0](problem.retained.inputs)  # type: ignore[index,attr-defined]  # Sequential, TensorRows
    norm = result[1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, hidden.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, hidden.var(0), rtol=1e-4, atol=1e-5)


def test_corrected_rows_count_no_more_than_retained_ones_in_the_statistics() -> None:
    everything = some_rows(1000, 4)
    corrected = TensorRows(some_rows(300, 5).inputs + 3, torch.zeros(300, dtype=torch.int64))
    sampled = TensorRows(everything.inputs[:200], everything.targets[:200])
    problem = problem_of(
        kind="feature_correction",
        forget=some_rows(300, 6),
        replacement=corrected,
        retained=sampled,
        retained_total=1000,
    )
    result, rows = network_of(problem, make_method("fine_tune", {"epochs": 1}).unlearn(problem))
    assert rows == 260
    edited = torch.cat([everything.inputs, corrected.inputs])
    expected = result[0](edited).mean(0)  # type: ignore[index]  # Sequential
    spread = result[0](edited).std(0) / 260**0.5  # type: ignore[index]
    assert ((result[1].running_mean - expected).abs() < 4 * spread).all()  # type: ignore[index]


def test_retraining_keeps_its_own_statistics() -> None:
    problem = problem_of()
    update = make_method("retrain", {}).unlearn(problem)
    result, rows = network_of(problem, update)
    assert rows == 0
    assert torch.equal(result[1].running_mean, update.buffers["1.running_mean"])  # type: ignore[index]


def test_reference_and_controls_are_measured_and_not_counted() -> None:
    problem = problem_of()
    update = make_method("sparse_newton", {"fraction": 0.2}).unlearn(problem)
    result, _ = network_of(problem, update)
    clock = account()
    asked = {"reference": "retrain", "controls": ["fine_tune", "random_mask", "last_layer"]}
    with clock.phase("verifying"):
        found = verify(loaded(problem), update, result, policy(verification=asked), clock)
    assert all(m.reference is not None for m in found.measurements)
    assert [c["name"] for c in found.controls] == asked["controls"]
    apart = sum(c["seconds"] for c in found.controls)
    assert apart > 0
    assert clock._apart >= apart
    assert found.notes == {}


def test_reference_without_recipe_is_noted_and_its_gate_fails() -> None:
    problem = problem_of(recipe=None)
    update = make_method("fine_tune", {}).unlearn(problem)
    asked = policy(
        verification={"reference": "retrain", "controls": []}, gates={"forget_gap_closed": 0.1}
    )
    found = verify(loaded(problem), update, network_of(problem, update)[0], asked, account())
    assert found.judgement.verdict == "failed"
    assert found.notes == {"reference": "not available: NotApplicable"}


def test_lost_lease_is_no_verdict() -> None:
    def lost(_: float) -> None:
        raise FenceLost

    problem = problem_of(progress=lost)
    update = make_method("fine_tune", {}).unlearn(problem_of())
    asked = policy(verification={"reference": "retrain", "controls": []})
    with pytest.raises(FenceLost):
        verify(loaded(problem), update, network_of(problem, update)[0], asked, account())


def test_report_counts_bits_rows_and_says_what_became_of_the_statistics() -> None:
    problem = problem_of()
    update = make_method("fine_tune", {"epochs": 2}).unlearn(problem)
    result, rows = network_of(problem, update)
    clock = account()
    found = verify(loaded(problem), update, result, policy(), clock)
    report = report_of(loaded(problem), update, result, found, clock, rows)
    old, new = dict(problem.model.named_parameters()), dict(result.named_parameters())
    assert report["cost"]["parameters_changed"] == sum(int((old[n] != new[n]).sum()) for n in old)
    assert report["cost"]["rows_read"] == 12 + 60 + 40
    assert report["cost"]["parameters_total"] == sum(p.numel() for p in old.values())
    assert "60 retained and corrected rows" in report["batch_norm"]
    assert baseline_of(found, problem, result).keys() == {"training", "holdout"}


def test_baseline_is_of_the_corrected_rows_where_none_is_retained() -> None:
    problem = problem_of(
        kind="feature_correction",
        replacement=some_rows(12, 7),
        retained=empty(),
        retained_total=0,
        full_retained=empty,
    )
    update = make_method("fine_tune", {"epochs": 1}).unlearn(problem)
    result, _ = network_of(problem, update)
    found = verify(loaded(problem), update, result, policy(), account())
    figures = baseline_of(found, problem, result)
    assert list(figures) == ["training", "holdout"]
    assert figures["training"] == baseline(result, problem.objective, problem.replacement)


def test_report_holds_no_number_that_json_lacks() -> None:
    document = {"a": [float("nan"), 1.0], "b": {"c": float("inf")}, "d": "text"}
    assert only_finite(document) == {"a": [None, 1.0], "b": {"c": None}, "d": "text"}
