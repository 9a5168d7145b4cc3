"""What every registered method owes, whatever it does."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest
import torch
from torch import nn

from app.unlearning.errors import BadParameters, NotApplicable, UnknownMethod
from app.unlearning.methods import describe_methods, make_method, method_names, parameters_schema
from app.unlearning.methods.registry import method_class, retained_rows
from app.unlearning.objective import Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.rows import empty
from app.unlearning.update import JSON, apply_update, changed_scalars
from tests.unlearning.certified.trained import Case
from tests.unlearning.methods.problems import KINDS, network

CHEAP: dict[str, dict[str, JSON]] = {
    "sparse_newton": {"iterations": 3},
    "saps": {"max_products": 3},
    "shrinking_mask": {"steps": 30},
    # What these networks forget is not worth a judgement.
    "reference_distillation": {"steps": 40, "refuse_above": None},
}
CERTIFIED = ("certified_descent", "certified_removal", "certified_update")
SERVED = [
    (name, kind) for name in method_names() for kind in KINDS if kind in method_class(name).kinds
]
SPARSE = ("saps", "shrinking_mask", "sparse_newton", "random_mask", "reference_distillation")
# Retraining answers to its recipe alone, auto to whatever it chose, a distillation to targets for
# the rows that the edited loss leaves out, and what is certified to a loss with noise in it.
JUDGED = [
    name
    for name in method_names()
    if name not in ("auto", "retrain", "reference_distillation", *CERTIFIED)
]


def problem_for(name: str, kind: Kind) -> Problem:
    """A network, or for the methods that prove something a model that allows it; 120 rows."""
    if name not in CERTIFIED:
        return network(kind)
    case = Case(rows=120, decay=0.5, dtype=torch.float32)
    return case.problem(torch.arange(30), torch.arange(30, 120), kind=kind)


@pytest.mark.parametrize(("name", "kind"), SERVED)
def test_it_leaves_the_network_alone_and_repeats_itself(name: str, kind: Kind) -> None:
    problem = problem_for(name, kind)
    before = copy.deepcopy(problem.model.state_dict())
    calls: list[float] = []
    problem.progress = calls.append

    first = make_method(name, CHEAP.get(name, {})).unlearn(problem)
    second = make_method(name, CHEAP.get(name, {})).unlearn(problem)

    after = problem.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not problem.model.training
    assert first.values.keys() == second.values.keys()
    assert all(torch.equal(first.values[key], second.values[key]) for key in first.values)
    assert first.diagnostics == second.diagnostics
    if first.values:
        assert calls
    assert all(0 <= fraction <= 1 for fraction in calls)


@pytest.mark.parametrize(("name", "kind"), SERVED)
def test_its_account_is_true(name: str, kind: Kind) -> None:
    problem = problem_for(name, kind)

    update = make_method(name, CHEAP.get(name, {})).unlearn(problem)

    result = apply_update(problem.model, update)
    assert changed_scalars(problem.model, result) <= update.selected <= problem.parameter_count
    assert update.gradient_evaluations > 0
    assert 0 < update.rows_read <= 120
    assert update.method in method_names()
    assert update.assurance == method_class(update.method).assurance
    assert (update.assurance == "certified") == (update.certified is not None)
    assert update.reason
    assert json.loads(json.dumps(update.diagnostics)) == update.diagnostics
    assert json.loads(json.dumps(dict(update.parameters))) == update.parameters
    own = problem.parameters
    for key, value in update.values.items():
        assert value.shape == own[key].shape
        assert value.dtype == own[key].dtype
        assert not value.requires_grad


@pytest.mark.parametrize(("name", "kind"), [pair for pair in SERVED if pair[0] in JUDGED])
def test_it_never_raises_the_edited_loss(name: str, kind: Kind) -> None:
    problem = network(kind)

    update = make_method(name, CHEAP.get(name, {})).unlearn(problem)

    before, after = (
        edited_loss(problem.objective, model, problem)
        for model in (problem.model, apply_update(problem.model, update))
    )
    assert after <= before


def edited_loss(objective: Objective, model: nn.Module, problem: Problem) -> float:
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for rows in (problem.retained, problem.replacement):
            for batch in rows.batches(200):
                total += float(objective.losses(model(batch.inputs), batch.targets).double().sum())
                weight += len(batch)
        squares = sum(float(p.double().square().sum()) for p in model.parameters())
    return total / weight + 0.5 * objective.weight_decay * squares


@pytest.mark.parametrize(("name", "kind"), [pair for pair in SERVED if pair[0] in SPARSE])
@pytest.mark.parametrize("fraction", [0.02, 0.3])
def test_scalars_outside_the_selection_keep_their_bits(
    name: str, kind: Kind, fraction: float
) -> None:
    problem = network(kind)
    method = make_method(name, {"fraction": fraction, **CHEAP.get(name, {})})

    update = method.unlearn(problem)

    count = int(fraction * problem.parameter_count)
    assert update.selected == count
    assert changed_scalars(problem.model, apply_update(problem.model, update)) <= count


@pytest.mark.parametrize("name", JUDGED)
def test_rows_corrected_to_what_they_were_change_nothing(name: str) -> None:
    problem = network("label_correction")
    same = replace(problem, replacement=problem.forget)

    update = make_method(name, {}).unlearn(same)

    assert not update.values
    assert changed_scalars(problem.model, apply_update(problem.model, update)) == 0


@pytest.mark.parametrize("name", SPARSE)
def test_an_empty_selection_changes_nothing(name: str) -> None:
    update = make_method(name, {"fraction": 0}).unlearn(network(method_class(name).kinds[-1]))

    assert update.selected == 0
    assert not update.values


@pytest.mark.parametrize("name", method_names())
def test_raising_from_progress_aborts(name: str) -> None:
    class Cancelled(Exception):
        """Someone asked to stop."""

    def stop(fraction: float) -> None:
        raise Cancelled

    problem = problem_for(name, method_class(name).kinds[-1])
    problem.progress = stop
    with pytest.raises(Cancelled):
        make_method(name, {}).unlearn(problem)


@pytest.mark.parametrize("name", method_names())
def test_its_schema_is_one_and_holds_its_defaults(name: str) -> None:
    schema = parameters_schema(name)
    assert jsonschema_rs.meta.is_valid(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    defaults = {key: value["default"] for key, value in properties.items()}  # type: ignore[index, call-overload]  # a schema
    jsonschema_rs.validate(schema, defaults)
    method = make_method(name, defaults)
    assert method.hyperparameters() == make_method(name, {}).hyperparameters()


@pytest.mark.parametrize(
    ("name", "parameters", "pointer"),
    [
        ("saps", {"fractoin": 0.1}, "/fractoin"),
        ("saps", {"fraction": 1.5}, "/fraction"),
        ("saps", {"fraction": "0.1"}, "/fraction"),
        ("saps", {"fraction": True}, "/fraction"),
        ("saps", {"fraction": None}, "/fraction"),
        ("saps", {"select": "sharp"}, "/select"),
        ("saps", {"rate": 0}, "/rate"),
        ("saps", {"steps": 1.5}, "/steps"),
        ("retrain", {"a/b~": 1}, "/a~1b~0"),
        ("fine_tune", {"retained_rows": 0}, "/retained_rows"),
    ],
)
def test_bad_parameters_are_refused_with_a_pointer(
    name: str, parameters: dict, pointer: str
) -> None:
    with pytest.raises(BadParameters) as caught:
        make_method(name, parameters)
    assert caught.value.pointer == pointer
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(parameters_schema(name), parameters)


def test_not_a_number_is_refused() -> None:
    with pytest.raises(BadParameters):
        make_method("saps", {"fraction": float("nan")})


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UnknownMethod):
        make_method("amnesia", {})


def test_numbers_take_the_type_of_their_field() -> None:
    method = make_method("saps", {"steps": 2.0, "fraction": 1, "retained_rows": 100})
    values = method.hyperparameters()
    assert (values["steps"], type(values["steps"])) == (2, int)
    assert (values["fraction"], type(values["fraction"])) == (1.0, float)
    assert retained_rows({"retained_rows": 100}) == 100
    assert retained_rows({}) == 4096


@pytest.mark.parametrize("name", method_names())
def test_a_deletion_of_every_row_is_refused(name: str) -> None:
    problem = problem_for(name, "deletion")
    everything = replace(
        problem,
        retained=empty(),
        retained_total=0,
        full_retained=empty,
        untouched=empty,
        recipe=problem.recipe if name in CERTIFIED else None,
    )
    with pytest.raises(NotApplicable):
        make_method(name, {}).unlearn(everything)


def test_retraining_needs_the_recipe() -> None:
    with pytest.raises(NotApplicable):
        make_method("retrain", {}).unlearn(replace(network("deletion"), recipe=None))


def test_the_committed_list_is_fresh() -> None:
    script = Path(__file__).parents[3] / "scripts" / "generate_methods.py"
    run = subprocess.run([sys.executable, script, "--check"], check=False, capture_output=True)
    assert run.returncode == 0, run.stdout.decode()


def test_controls_are_not_offered() -> None:
    offered = {str(item["name"]) for item in describe_methods()}
    assert offered == {
        "auto",
        *CERTIFIED,
        "fine_tune",
        "influence",
        "reference_distillation",
        "retrain",
        "saps",
        "shrinking_mask",
        "sparse_newton",
    }
