"""Policies are filled in, and every bad field is named."""

from typing import Any

import pytest

from app.domain import json_schema, methods, policy
from app.domain.errors import Refused


def test_nothing_given_is_the_defaults_of_the_contract() -> None:
    assert policy.complete({}) == {
        "method": "auto",
        "parameters": {},
        "verification": {"reference": "none", "controls": []},
        "gates": {"holdout_accuracy_drop": 0.02},
        "on_gate_failure": ["retrain", "attention"],
        "on_inconclusive": "publish",
        "batching": {"max_wait_seconds": 0, "max_samples": 100000},
        "withdraw_after_seconds": 0,
        "budget": {"requests": None, "share": None, "drift": None},
    }
    assert policy.complete(None) == policy.complete({})


def test_parts_of_objects_keep_their_other_defaults() -> None:
    found = policy.complete({"batching": {"max_samples": 5}, "gates": {}})
    assert found["batching"] == {"max_wait_seconds": 0, "max_samples": 5}
    assert found["gates"] == {}
    limited = policy.complete({"budget": {"requests": 50, "drift": None}})
    assert limited["budget"] == {"requests": 50, "share": None, "drift": None}


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"method": "amnesia"}, "/policy/method"),
        ({"method": 3}, "/policy/method"),
        ({"colour": "red"}, "/policy/colour"),
        ({"parameters": {"no/such": 1}}, "/policy/parameters/no~1such"),
        ({"method": "saps", "parameters": {"fraction": 2}}, "/policy/parameters/fraction"),
        ({"gates": {"beauty": 1}}, "/policy/gates/beauty"),
        ({"gates": {"holdout_accuracy_drop": "low"}}, "/policy/gates/holdout_accuracy_drop"),
        ({"gates": {"forget_gap_closed": 0.5}}, "/policy/gates/forget_gap_closed"),
        ({"on_gate_failure": ["pray"]}, "/policy/on_gate_failure/0"),
        ({"batching": {"max_samples": 0}}, "/policy/batching/max_samples"),
        ({"batching": {"max_samples": True}}, "/policy/batching/max_samples"),
        ({"withdraw_after_seconds": -1}, "/policy/withdraw_after_seconds"),
        ({"budget": {"requests": -1}}, "/policy/budget/requests"),
        ({"budget": {"requests": 1.5}}, "/policy/budget/requests"),
        ({"budget": {"share": 2}}, "/policy/budget/share"),
        ({"budget": {"drift": "far"}}, "/policy/budget/drift"),
        ({"budget": {"patience": 1}}, "/policy/budget/patience"),
        ({"budget": None}, "/policy/budget"),
        (
            {"method": "certified_removal", "parameters": {"delta": 0}},
            "/policy/parameters/delta",
        ),
        ({"withdraw_after_seconds": float("nan")}, "/policy/withdraw_after_seconds"),
        ({"parameters": {"retained_rows": 10**400}}, "/policy/parameters/retained_rows"),
        ({"gates": {"membership_auc": 10**400}}, "/policy/gates/membership_auc"),
        ({"parameters": {"a": "\0"}}, "/policy/parameters/a"),
        ({"verification": {"controls": ["placebo"]}}, "/policy/verification/controls/0"),
    ],
)
def test_what_is_wrong_is_named_with_its_pointer(given: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Refused) as refused:
        policy.complete(given, "/policy")
    assert refused.value.code == "invalid-policy"
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_a_bottomless_document_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(Refused) as refused:
        policy.complete({"parameters": deep})
    assert [error.code for error in refused.value.errors] == ["too-deep"]


def test_a_gate_on_the_reference_is_fine_when_there_is_one() -> None:
    found = policy.complete({
        "verification": {"reference": "retrain"},
        "gates": {"forget_gap_closed": 0.5},
    })
    assert found["verification"] == {"reference": "retrain", "controls": []}


def keywords(schema: dict[str, Any]) -> set[str]:
    found = set(schema)
    for part in schema.get("properties", {}).values():
        found |= keywords(part)
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= keywords(part)
    if isinstance(schema.get("items"), dict):
        found |= keywords(schema["items"])
    return found


@pytest.mark.parametrize("name", methods.names())
def test_no_keyword_of_a_committed_schema_is_ignored(name: str) -> None:
    schema = methods.schema_of(name)
    assert schema is not None
    assert keywords(schema) <= json_schema.KEYWORDS
    assert keywords(dict(policy.SCHEMA)) <= json_schema.KEYWORDS


@pytest.mark.parametrize("name", methods.names())
def test_the_defaults_of_every_method_are_valid(name: str) -> None:
    schema = methods.schema_of(name)
    assert schema is not None
    defaults = {
        key: part["default"] for key, part in schema["properties"].items() if "default" in part
    }
    assert json_schema.faults(schema, defaults) == []
