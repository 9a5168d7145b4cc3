"""Cells are checked before they are stored, and come back as they were checked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import ColumnSpec, WrongType
from tests.infra.rows.stores import cells_of, column_specs

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(column_specs("c"), st.data())
def test_a_canonical_cell_is_its_own_canonical_form(spec: ColumnSpec, data: st.DataObject) -> None:
    cell = data.draw(cells_of(spec))

    assert spec.check(cell) == cell


@given(column_specs("c"), json_values)
def test_any_json_value_is_either_stored_or_refused(spec: ColumnSpec, value: Any) -> None:
    try:
        canonical = spec.check(value)
    except WrongType:
        return
    assert spec.check(canonical) == canonical
    assert (canonical is None) == (value is None)


@given(column_specs("c"))
def test_a_column_survives_json(spec: ColumnSpec) -> None:
    assert ColumnSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int8", 128),
        ("int8", 1.0),
        ("int8", True),
        ("uint8", -1),
        ("bool", 2),
        ("float32", float("nan")),
        ("float32", 1e39),
        ("float64", 10**400),
        ("float64", "1"),
        ("uint64", 2**64),
    ],
)
def test_a_number_that_does_not_fit_is_refused(dtype: str, value: object) -> None:
    with pytest.raises(WrongType):
        ColumnSpec("age", "number", dtype).check(value)


def test_numbers_are_rounded_to_the_type_of_their_column() -> None:
    assert ColumnSpec("age", "number", "float32").check(0.1) == pytest.approx(0.1, rel=1e-7)
    assert ColumnSpec("age", "number", "float32").check(0.1) != 0.1
    assert ColumnSpec("age", "number", "bool").check(value=True) == 1


def test_null_needs_a_column_that_has_nulls() -> None:
    assert ColumnSpec("age", "number", "int8").check(None) is None
    with pytest.raises(WrongType, match="never null"):
        ColumnSpec("age", "number", "int8", nullable=False).check(None)


@pytest.mark.parametrize("value", [[1, 2], [1, 2, 3, 4], [1, 2, None], "abc", 1, [1, 2, 256]])
def test_a_list_has_its_length_and_no_nulls_inside(value: object) -> None:
    with pytest.raises(WrongType):
        ColumnSpec("image", "list", "uint8", 3).check(value)


def test_half_a_surrogate_pair_is_no_string() -> None:
    with pytest.raises(WrongType):
        ColumnSpec("text", "string", "utf8").check("\ud800")


@pytest.mark.parametrize(
    ("kind", "dtype", "length"),
    [
        ("number", "int8", 3),
        ("list", "int8", None),
        ("string", "int8", None),
        ("number", "S3", None),
    ],
)
def test_kind_type_and_length_go_together(kind: Any, dtype: str, length: int | None) -> None:
    with pytest.raises(ValueError):
        ColumnSpec("c", kind, dtype, length)
