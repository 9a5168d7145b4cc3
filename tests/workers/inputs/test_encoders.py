"""Encoders do what API.md says of each kind, cell by cell, with corrections in place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from app.infra.rows import (
    BadInputs,
    Cell,
    Cells,
    ColumnSpec,
    Overlay,
    PackedStrings,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
)
from workers.inputs.bag_of_words import tokens
from workers.inputs.encoder import make_encoder


def store_of(folder: Path, *columns: tuple[ColumnSpec, Sequence[Cell]]) -> RowStore:
    writer = RowWriter.create(folder / "rows", [spec for spec, _ in columns], Roles("id"))
    count = len(columns[0][1])
    ids = PackedStrings.of([f"{i}" for i in range(count)])
    writer.append(RowBatch(ids, {spec.name: Cells.of(spec, cells) for spec, cells in columns}))
    writer.finish()
    return RowStore.open(folder / "rows")


def image(*cells: Cell, dtype: str = "uint8") -> tuple[ColumnSpec, Sequence[Cell]]:
    return ColumnSpec("image", "list", dtype, 12), cells


FIRST: list[int | float] = list(range(12))
SECOND: list[int | float] = [255 - 3 * i for i in range(12)]
IMAGE = {
    "kind": "image",
    "column": "image",
    "shape": [2, 3, 2],
    "scale": 1 / 255,
    "mean": [0.1, 0.2],
    "std": [0.5, 2.0],
}


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "uint64", "float32"])
@pytest.mark.parametrize("layout", ["chw", "hwc"])
def test_an_image_is_scaled_and_standardised_per_channel(
    tmp_path: Path, layout: str, dtype: str
) -> None:
    store = store_of(tmp_path, image(FIRST, SECOND, dtype=dtype))
    encoder = make_encoder({**IMAGE, "layout": layout}, store.columns)

    encoded = encoder.encode(store, np.array([1, 0]))

    assert encoded.dtype == torch.float32
    assert encoded.shape == (2, 2, 3, 2)
    for row, cells in enumerate([SECOND, FIRST]):
        for c in range(2):
            for y in range(3):
                for x in range(2):
                    place = c * 6 + y * 2 + x if layout == "chw" else (y * 2 + x) * 2 + c
                    wanted = (cells[place] / 255 - (0.1, 0.2)[c]) / (0.5, 2.0)[c]
                    # float32 carries 7 digits.
                    assert encoded[row, c, y, x].item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_a_missing_image_is_all_zeros(tmp_path: Path) -> None:
    store = store_of(tmp_path, image(FIRST, None, SECOND))
    encoder = make_encoder(IMAGE, store.columns)

    encoded = encoder.encode(store, np.array([0, 1, 2]))

    assert not encoded[1].any()
    assert encoded[0].any()
    assert encoded[2].any()


def test_a_corrected_cell_is_corrected_before_it_is_encoded(tmp_path: Path) -> None:
    store = store_of(tmp_path, image(FIRST, FIRST, SECOND))
    encoder = make_encoder(IMAGE, store.columns)
    overlay = Overlay().with_cells("image", [0, 2], [SECOND, None])

    encoded = encoder.encode(store, np.array([0, 1, 2]), overlay)

    plain = encoder.encode(store, np.array([2, 0, 1]))
    assert_close(encoded[:2], plain[:2], rtol=0, atol=0)
    assert not encoded[2].any()


def test_a_vector_is_taken_as_it_is(tmp_path: Path) -> None:
    spec = ColumnSpec("v", "list", "int16", 3)
    store = store_of(tmp_path, (spec, [[1, -2, 3], None, [4, 5, 6]]))
    floats = make_encoder({"kind": "vector", "column": "v", "length": 3}, store.columns)
    tokens = make_encoder(
        {"kind": "vector", "column": "v", "length": 3, "dtype": "int64"}, store.columns
    )

    rows = np.array([2, 1, 0])
    wanted = torch.tensor([[4, 5, 6], [0, 0, 0], [1, -2, 3]])
    assert_close(floats.encode(store, rows), wanted.float(), rtol=0, atol=0)
    assert_close(tokens.encode(store, rows), wanted, rtol=0, atol=0)


AGE = (ColumnSpec("age", "number", "int32"), [20, None, 50, 35])
SEX = (ColumnSpec("sex", "string", "utf8"), ["f", "m", None, "x"])
MEMBER = (ColumnSpec("member", "number", "bool"), [1, 0, None, 1])
GRADE = (ColumnSpec("grade", "number", "float32"), [0.1, 0.5, 0.1, 0.0])
TABLE = {
    "kind": "table",
    "columns": [
        {"name": "sex", "encode": "one_hot", "categories": ["m", "f"]},
        {"name": "age", "encode": "standard", "mean": 40, "std": 10},
        {"name": "member", "encode": "one_hot", "categories": [False, True]},
        {"name": "grade", "encode": "one_hot", "categories": [0.5, 0.1]},
    ],
}


def test_columns_of_a_table_stand_side_by_side(tmp_path: Path) -> None:
    store = store_of(tmp_path, AGE, SEX, MEMBER, GRADE)
    encoder = make_encoder(TABLE, store.columns)

    encoded = encoder.encode(store, np.arange(4))

    assert encoder.sample_shape == (7,)
    assert encoder.columns == ("sex", "age", "member", "grade")
    assert encoded.tolist() == [
        # m f  age  false true  0.5 0.1
        [0, 1, -2, 0, 1, 0, 1],
        [1, 0, 0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0, 0, 1],
        [0, 0, -0.5, 0, 1, 0, 0],
    ]


def test_a_removed_feature_is_missing_in_every_row(tmp_path: Path) -> None:
    store = store_of(tmp_path, AGE, SEX, MEMBER, GRADE)
    encoder = make_encoder(TABLE, store.columns)
    overlay = Overlay().with_cells("sex", None, [None]).with_cells("age", [0, 1], [None, 60])

    encoded = encoder.encode(store, np.arange(4), overlay)

    assert not encoded[:, :2].any()
    assert encoded[:, 2].tolist() == [0, 2, 1, -0.5]
    assert_close(encoded[:, 3:], encoder.encode(store, np.arange(4))[:, 3:], rtol=0, atol=0)


def test_tokens_are_runs_of_letters_digits_and_apostrophes() -> None:
    assert tokens("Don't PANIC, 42-times!\nnaïve") == ["don't", "panic", "42", "times", "na", "ve"]


TEXT = (ColumnSpec("text", "string", "utf8"), ["A dog, a DOG and a cat", None, "a bird", "1 2 3"])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [[2, 3, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        ({"weight": "binary"}, [[1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        (
            {"weight": "count", "normalise": "l2"},
            [[2 / 14**0.5, 3 / 14**0.5, 1 / 14**0.5], [0, 0, 0], [0, 1, 0], [0, 0, 0]],
        ),
    ],
)
def test_words_of_the_vocabulary_are_counted(
    tmp_path: Path, options: dict[str, str], wanted: list[list[float]]
) -> None:
    store = store_of(tmp_path, TEXT)
    declaration = {"kind": "bag_of_words", "column": "text", "vocabulary": ["dog", "a", "cat"]}
    encoder = make_encoder({**declaration, **options}, store.columns)

    encoded = encoder.encode(store, np.arange(4))

    assert_close(encoded, torch.tensor(wanted, dtype=torch.float32))


def test_a_declaration_that_does_not_fit_the_columns_makes_no_encoder(tmp_path: Path) -> None:
    store = store_of(tmp_path, AGE)

    with pytest.raises(BadInputs) as caught:
        make_encoder(TABLE, store.columns)

    assert caught.value.pointer == "/columns/0/name"


def test_no_rows_are_an_empty_tensor(tmp_path: Path) -> None:
    store = store_of(tmp_path, AGE, SEX, MEMBER, GRADE, image(None, None, None, None), TEXT)
    words = {"kind": "bag_of_words", "column": "text", "vocabulary": ["a"], "normalise": "l2"}

    for declaration in (TABLE, IMAGE, words):
        encoder = make_encoder(declaration, store.columns)
        empty = encoder.encode(store, np.array([], np.int64), Overlay())
        assert empty.shape == (0, *encoder.sample_shape)
