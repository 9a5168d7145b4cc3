"""Declarations of inputs are read strictly and held against the columns."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import BadInputs, ColumnSpec, check_inputs, check_targets
from app.infra.rows.input_kinds import BagOfWordsInputs, ImageInputs, OneHot, Standard, TableInputs

COLUMNS = {
    spec.name: spec
    for spec in (
        ColumnSpec("image", "list", "uint8", 12),
        ColumnSpec("measures", "list", "float32", 3),
        ColumnSpec("age", "number", "int32"),
        ColumnSpec("height", "number", "float32"),
        ColumnSpec("member", "number", "bool"),
        ColumnSpec("sex", "string", "utf8"),
    )
}

IMAGE = {"kind": "image", "column": "image", "shape": [3, 2, 2]}
VECTOR = {"kind": "vector", "column": "measures", "length": 3}
AGE = {"name": "age", "encode": "standard", "mean": 30, "std": 2.5}
SEX = {"name": "sex", "encode": "one_hot", "categories": ["f", "m"]}
TABLE = {"kind": "table", "columns": [AGE, SEX]}
WORDS = {"kind": "bag_of_words", "column": "sex", "vocabulary": ["a", "b"]}


def test_defaults_are_filled_in() -> None:
    assert check_inputs(IMAGE, COLUMNS) == ImageInputs(
        "image", (3, 2, 2), "chw", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    )
    assert check_inputs(WORDS, COLUMNS) == BagOfWordsInputs("sex", ("a", "b"), "count", "")
    assert check_inputs(TABLE, COLUMNS) == TableInputs((
        Standard("age", 30.0, 2.5),
        OneHot("sex", ("f", "m")),
    ))


@pytest.mark.parametrize(
    ("declaration", "shape"), [(IMAGE, (3, 2, 2)), (VECTOR, (3,)), (TABLE, (3,)), (WORDS, (2,))]
)
def test_the_shape_of_one_row_is_known(declaration: object, shape: tuple[int, ...]) -> None:
    assert check_inputs(declaration, COLUMNS).sample_shape == shape


@pytest.mark.parametrize(
    ("declaration", "pointer"),
    [
        ([], "/kind"),
        ({}, "/kind"),
        ({"kind": "text"}, "/kind"),
        ({"kind": ["image"]}, "/kind"),
        ({**IMAGE, "colour": 1}, ""),
        ({**IMAGE, "column": 3}, "/column"),
        ({**IMAGE, "column": "pixels"}, "/column"),
        ({**IMAGE, "column": "age"}, "/column"),
        ({**IMAGE, "shape": [3, 2]}, "/shape"),
        ({**IMAGE, "shape": [3, 2, 0]}, "/shape/2"),
        ({**IMAGE, "shape": [3, 2, 2.0]}, "/shape/2"),
        ({**IMAGE, "shape": [3, 2, 3]}, "/column"),
        ({**IMAGE, "shape": [1 << 20, 1 << 20, 1 << 20]}, "/shape"),
        ({**IMAGE, "layout": "whc"}, "/layout"),
        ({**IMAGE, "layout": ["chw"]}, "/layout"),
        ({**IMAGE, "scale": "1"}, "/scale"),
        ({**IMAGE, "scale": float("nan")}, "/scale"),
        ({**IMAGE, "scale": 10**400}, "/scale"),
        ({**IMAGE, "mean": [0.0]}, "/mean"),
        ({**IMAGE, "mean": [0, 0, True]}, "/mean/2"),
        ({**IMAGE, "std": [1, 1, 0]}, "/std"),
        ({**VECTOR, "length": 4}, "/column"),
        ({**VECTOR, "length": True}, "/length"),
        ({**VECTOR, "dtype": "int64"}, "/dtype"),
        ({**VECTOR, "dtype": "float16"}, "/dtype"),
        ({"kind": "vector", "length": 3}, "/column"),
        ({**TABLE, "columns": []}, "/columns"),
        ({**TABLE, "columns": [1]}, "/columns/0"),
        ({**TABLE, "columns": [{**AGE, "std": 0}]}, "/columns/0/std"),
        ({**TABLE, "columns": [{**AGE, "categories": []}]}, "/columns/0"),
        ({**TABLE, "columns": [{**AGE, "encode": "log"}]}, "/columns/0/encode"),
        ({**TABLE, "columns": [AGE, {**AGE, "name": "sex"}]}, "/columns/1/encode"),
        ({**TABLE, "columns": [{**AGE, "name": "image"}]}, "/columns/0/encode"),
        ({**TABLE, "columns": [{**AGE, "name": "shoe"}]}, "/columns/0/name"),
        ({**TABLE, "columns": [{**SEX, "categories": ["f", "f"]}]}, "/columns/0/categories"),
        ({**TABLE, "columns": [{**SEX, "categories": ["f", None]}]}, "/columns/0/categories/1"),
        ({**TABLE, "columns": [{**SEX, "categories": ["f", 1]}]}, "/columns/0/categories/1"),
        ({**TABLE, "columns": [{**SEX, "categories": "fm"}]}, "/columns/0/categories"),
        (
            {**TABLE, "columns": [{**SEX, "name": "height", "categories": [0.1, 0.1 + 1e-12]}]},
            "/columns/0/categories",
        ),
        ({**WORDS, "vocabulary": ["a", "a"]}, "/vocabulary"),
        ({**WORDS, "vocabulary": ["a", 1]}, "/vocabulary/1"),
        ({**WORDS, "vocabulary": []}, "/vocabulary"),
        ({**WORDS, "weight": "tfidf"}, "/weight"),
        ({**WORDS, "normalise": "l1"}, "/normalise"),
        ({**WORDS, "column": "age"}, "/column"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_is_wrong(declaration: Any, pointer: str) -> None:
    with pytest.raises(BadInputs) as caught:
        check_inputs(declaration, COLUMNS)

    assert caught.value.pointer == pointer


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["age", "f", "l2"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "encode", "mean", "std", "categories"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from([IMAGE, VECTOR, TABLE, WORDS]), st.data())
def test_no_declaration_fails_otherwise(declaration: dict[str, Any], data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([*declaration, "scale", "mean", "weight", "dtype"]))
    changed = {**declaration, field: data.draw(json_values)}

    try:
        spec = check_inputs(changed, COLUMNS)
    except BadInputs:
        return
    assert min(spec.sample_shape) > 0


def test_categories_of_truth_values_are_true_and_false() -> None:
    member = {"name": "member", "encode": "one_hot", "categories": [False, True]}

    assert check_inputs({"kind": "table", "columns": [member]}, COLUMNS).sample_shape == (2,)


@pytest.mark.parametrize(
    ("objective", "label", "fits"),
    [
        ("cross_entropy", ColumnSpec("y", "number", "int8"), True),
        ("cross_entropy", ColumnSpec("y", "number", "bool"), True),
        ("cross_entropy", ColumnSpec("y", "number", "float32"), False),
        ("cross_entropy", ColumnSpec("y", "string", "utf8"), False),
        ("binary_cross_entropy", ColumnSpec("y", "number", "float64"), True),
        ("binary_cross_entropy", ColumnSpec("y", "list", "int8", 2), False),
        ("mean_squared_error", ColumnSpec("y", "list", "float32", 2), True),
        ("mean_squared_error", ColumnSpec("y", "string", "utf8"), False),
        ("mean_squared_error", None, False),
        ("causal_language_model", ColumnSpec("y", "number", "int8"), False),
    ],
)
def test_labels_must_fit_the_objective(
    objective: str, label: ColumnSpec | None, fits: bool
) -> None:
    if fits:
        check_targets(objective, label)
    else:
        with pytest.raises(BadInputs):
            check_targets(objective, label)


def test_a_row_store_needs_numpy_alone() -> None:
    code = (
        "import sys, app.infra.rows\n"
        "assert not {'torch', 'pyarrow', 'pydantic', 'sqlalchemy'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "."})
