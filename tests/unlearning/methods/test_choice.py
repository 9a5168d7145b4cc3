"""Every line of the table of methods is reached by the situation it is meant for."""

from dataclasses import replace

import pytest
import torch

from app.unlearning.errors import NotApplicable
from app.unlearning.methods import make_method, method_names
from app.unlearning.methods.choice import (
    CORRECTIONS,
    MANY,
    MEDIUM,
    SMALL,
    TABLE,
    Asked,
    Fact,
    Situation,
    Size,
    asked,
    choose,
    situation_of,
    size_of,
)
from app.unlearning.methods.registry import method_class
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Rows, TensorRows, empty
from tests.unlearning.certified.trained import Case
from tests.unlearning.methods.problems import blobs, network, ridge

AT_HAND: tuple[Fact, ...] = ("edited", "retrainable", "distillable")


def when(kind: Asked, *facts: Fact, share: float = 0.01, size: Size = "small") -> Situation:
    return Situation(kind, size, share, frozenset(facts))


# For each line of the table, in its order, what is meant to reach it.
MEANT: list[tuple[str, list[Situation]]] = [
    ("certified_update", [
        when("deletion", "perturbed", "convex", *AT_HAND, share=0.3),
        when("label_correction", "perturbed", "convex", "edited"),
    ]),
    ("influence", [
        when("deletion", "convex", *AT_HAND, share=0.3),
        when("feature_correction", "convex", *AT_HAND, share=1.0),
        when("label_correction", "convex", "edited", size="large"),
    ]),
    ("certified_descent", [
        when("deletion", "linear_head", *AT_HAND, share=0.3),
        when("feature_correction", "linear_head", "edited", size="large"),
    ]),
    ("retrain", [when("deletion", *AT_HAND, share=MANY + 0.001)]),
    ("retrain", [
        when("deletion_and_correction", *AT_HAND),
        when("deletion_and_correction", "edited", "retrainable", share=0.9, size="large"),
    ]),
    ("retrain", [when("deletion", *AT_HAND, "dear", share=MANY)]),
    ("reference_distillation", [
        when("deletion", *AT_HAND, share=MANY),
        when("deletion", "edited", "distillable", "dear"),  # without a recipe nothing retrains
        when("deletion", "edited", "distillable", share=0.3),
    ]),
    ("retrain", [when("feature_correction", *AT_HAND, share=0.9)]),
    ("shrinking_mask", [
        when("label_correction", *AT_HAND, share=0.9),
        when("feature_correction", *AT_HAND, share=0.4, size="medium"),
        when("feature_correction", "edited", "distillable", share=0.9),
        when("corrections", "edited"),
    ]),
    ("sparse_newton", [when(kind, *AT_HAND, size="large") for kind in CORRECTIONS]),
    ("sparse_newton", [
        when("deletion", "edited", "retrainable"),
        when("deletion_and_correction", "edited", "distillable"),
    ]),
    ("saps", [when("label_correction"), when("feature_correction", "convex", share=1.0)]),
    ("retrain", [when("deletion", "retrainable", "distillable")]),
]  # fmt: skip


# What a method that serves two kinds of request is taken to serve together, by the harder of them.
SERVED_AS: dict[str, str] = {
    "corrections": "feature_correction",
    "deletion_and_correction": "deletion",
}


@pytest.mark.parametrize("number", range(len(TABLE)))
def test_a_line_is_reached_by_what_it_is_meant_for(number: int) -> None:
    method, situations = MEANT[number]
    for situation in situations:
        assert choose(situation) is TABLE[number]
    assert TABLE[number].method == method


def test_the_lines_name_methods_that_serve_their_requests() -> None:
    assert len(MEANT) == len(TABLE)
    for line in TABLE:
        assert line.method in method_names()
        served = set(method_class(line.method).kinds)
        assert {SERVED_AS.get(kind, kind) for kind in line.kinds} <= served


def test_nothing_at_hand_is_refused() -> None:
    assert choose(when("deletion")) is None
    assert choose(when("deletion", "convex")) is None
    assert choose(when("deletion_and_correction", "distillable")) is None
    nothing = replace(network("deletion"), retained=empty(), recipe=None)
    with pytest.raises(NotApplicable):
        make_method("auto", {}).unlearn(nothing)


def rows(count: int) -> Rows:
    return TensorRows(*blobs(count, 900))


# Four layers that public data made, and a last one that was fitted to these rows.
HEAD_ONLY = replace(
    network("deletion"), recipe=Recipe("sgd", 0.1, batch_size=16, epochs=1, trained="last_layer")
)
FREE = replace(network("deletion"), recipe=None)
CORRECTED = network("label_correction")
# A few rows, of a network that retrains in no time and of one that takes long.
BRIEF = replace(network("deletion"), forget=rows(4))
assert BRIEF.recipe is not None
LONG = replace(BRIEF, recipe=replace(BRIEF.recipe, epochs=10_000))
TWO_KINDS = replace(CORRECTED, kind="mixed")
# Of the thirty affected rows only twenty come back.
PARTLY_DELETED = replace(TWO_KINDS, replacement=rows(20))


@pytest.mark.parametrize(
    ("problem", "facts", "method"),
    [
        # A quarter of the rows, of a network that retrains in no time.
        (network("deletion"), {*AT_HAND, "dear"}, "retrain"),
        (BRIEF, {*AT_HAND, "dear"}, "retrain"),
        (LONG, set(AT_HAND), "reference_distillation"),
        (FREE, {"edited", "distillable"}, "reference_distillation"),
        (replace(FREE, holdout=rows(99)), {"edited"}, "sparse_newton"),
        (replace(FREE, holdout=None), {"edited"}, "sparse_newton"),
        (CORRECTED, set(AT_HAND), "shrinking_mask"),
        (replace(CORRECTED, retained=empty(), recipe=None), set(), "saps"),
        # Every row corrected: nothing is retained, and nothing is missing.
        (replace(CORRECTED, retained=empty(), retained_total=0, recipe=None), {"edited"},
         "shrinking_mask"),
        (TWO_KINDS, set(AT_HAND), "shrinking_mask"),
        (PARTLY_DELETED, set(AT_HAND), "retrain"),
        (replace(PARTLY_DELETED, kind="label_correction"), set(AT_HAND), "retrain"),
        (replace(PARTLY_DELETED, recipe=None), {"edited", "distillable"}, "sparse_newton"),
        (ridge("deletion")[0], {"convex", "edited"}, "influence"),
        (HEAD_ONLY, {"linear_head", *AT_HAND, "dear"}, "certified_descent"),
        # Without weight decay no optimum is the only one; without all rows it is another one.
        (replace(HEAD_ONLY, objective=Objective("cross_entropy")), {*AT_HAND, "dear"}, "retrain"),
        (replace(HEAD_ONLY, full_retained=None, retained_total=1000),
         {"edited", "distillable", "dear"}, "reference_distillation"),
        (Case(rows=120).problem(torch.arange(30), torch.arange(30, 120)), None,
         "certified_update"),
    ],
)  # fmt: skip
def test_facts_are_read_off_a_problem(
    problem: Problem, facts: set[Fact] | None, method: str
) -> None:
    situation = situation_of(problem)
    line = choose(situation)
    assert line is not None
    assert line.method == method
    if facts is not None:
        assert situation.facts == facts


def test_what_is_asked_is_told_by_the_rows() -> None:
    few = replace(PARTLY_DELETED, forget=rows(20))
    problems = (TWO_KINDS, PARTLY_DELETED, few, CORRECTED, network("deletion"))
    assert [asked(problem) for problem in problems] == [
        "corrections",
        "deletion_and_correction",
        "corrections",
        "label_correction",
        "deletion",
    ]


def test_sizes_and_shares_are_counted() -> None:
    assert [size_of(n) for n in (SMALL, SMALL + 1, MEDIUM, MEDIUM + 1)] == [
        "small",
        "medium",
        "medium",
        "large",
    ]
    assert situation_of(network("deletion")).affected_share == 30 / 120


def test_the_report_names_the_method_that_ran_why_and_on_what_facts() -> None:
    problem = network("label_correction")
    update = make_method("auto", {"fraction": 0.1}).unlearn(problem)
    assert update.method == "shrinking_mask"
    assert "corrected rows" in update.reason
    assert update.selected == int(0.1 * problem.parameter_count)
    assert update.diagnostics["situation"] == {
        "kind": "label_correction",
        "size": "small",
        "affected_share": 0.25,
        "facts": sorted(AT_HAND),
    }
    retrained = make_method("auto", {"fraction": 0.1}).unlearn(network("deletion"))
    assert retrained.method == "retrain"
    assert "a twentieth of the training rows" in retrained.reason


def test_layers_that_were_never_fitted_to_the_rows_stay_as_they_are() -> None:
    update = make_method("auto", {}).unlearn(HEAD_ONLY)
    assert (update.method, update.assurance) == ("certified_descent", "certified")
    assert set(update.values) == {"7.weight", "7.bias"}
    assert "linear_head" in str(update.diagnostics["situation"])
