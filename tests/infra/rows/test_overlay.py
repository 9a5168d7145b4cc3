"""Pending corrections: the later wins, every reader sees them, bytes bring them back."""

import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import DamagedOverlay, Overlay, RowStore, UnknownColumn, WrongType
from tests.infra.rows.stores import on_disk, small

COUNT = 8

edits = st.lists(
    st.tuples(
        st.sampled_from(["age", "text"]),
        st.none() | st.lists(st.integers(0, COUNT - 1), max_size=4),
        st.integers(0, 99),
    ),
    max_size=6,
)

Edits = list[tuple[str, list[int] | None, int]]


def cell(column: str, seed: int, row: int) -> float | str | None:
    if seed % 5 == 0:
        return None
    return seed + row / 4 if column == "age" else f"corrected {seed} {row}"


def built(edits: Edits, expected: dict[str, list[object]]) -> Overlay:
    """An overlay of edits, which are made to ``expected``, too."""
    overlay = Overlay()
    for column, rows, seed in edits:
        touched = range(COUNT) if rows is None else rows
        values = [cell(column, seed, 0 if rows is None else row) for row in touched]
        overlay = overlay.with_cells(column, rows, values[:1] if rows is None else values)
        for row, value in zip(touched, values, strict=True):
            expected[column][row] = value
    return overlay


@on_disk
@given(edits, edits, st.lists(st.integers(0, COUNT - 1)))
def test_readers_see_the_last_correction_of_each_cell(
    first: Edits, second: Edits, asked: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        rows = small(Path(folder, "rows"), COUNT)
        expected: dict[str, list[object]] = {n: list(cells) for n, cells in rows.cells.items()}
        overlay = built(first, expected).merged(built(second, expected))
        overlay = Overlay.from_bytes(overlay.to_bytes())

        with RowStore.open(Path(folder, "rows"), writable=True) as store:
            for name, cells in expected.items():
                numbers = np.array(asked, np.int64)
                assert store.cells(name, numbers, overlay) == [cells[row] for row in asked]
            store.write_overlay(overlay)
            for name, cells in expected.items():
                assert store.cells(name, np.arange(COUNT)) == cells


def test_an_overlay_knows_its_rows_and_columns() -> None:
    overlay = Overlay().with_cells("age", [5, 2], [1.0, 2.0]).with_cells("text", [2, 7], ["a", "b"])

    assert overlay.covers("age")
    assert not overlay.covers("label")
    assert overlay.columns == ("age", "text")
    assert overlay.rows() is not None
    assert list(overlay.rows()) == [2, 5, 7]  # type: ignore[arg-type]  # not None, as said above
    assert overlay.with_cells("text", None, [None]).rows() is None
    assert list(Overlay().rows()) == []  # type: ignore[arg-type]  # no column, no rows
    assert not Overlay()


def test_rows_and_values_go_in_pairs() -> None:
    with pytest.raises(ValueError):
        Overlay().with_cells("age", [1, 2], [1.0])
    with pytest.raises(ValueError):
        Overlay().with_cells("age", None, [1.0, 2.0])


def test_cells_are_checked_against_their_columns(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    columns = RowStore.open(tmp_path / "rows").columns

    rounded = Overlay().with_cells("age", [1], [2]).checked(columns)
    assert rounded.cells("age", np.array([1]))[1] == [2.0]
    with pytest.raises(WrongType):
        Overlay().with_cells("label", [1], ["three"]).checked(columns)
    with pytest.raises(UnknownColumn):
        Overlay().with_cells("height", [1], [3]).checked(columns)


def document(**layer: object) -> bytes:
    return zlib.compress(json.dumps({"age": [layer]}).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04N.",
        zlib.compress(b"[1, 2]"),
        zlib.compress(b"not JSON"),
        document(rows=[1, 2], values=[1]),
        document(rows=[2, 1], values=[1, 2]),
        document(rows=None, values=[]),
        document(values=[1]),
    ],
)
def test_other_bytes_are_no_overlay(content: bytes) -> None:
    with pytest.raises(DamagedOverlay):
        Overlay.from_bytes(content)


def test_rows_are_taken_out_of_some_columns_or_all() -> None:
    everywhere = Overlay().with_cells("age", None, [1.0]).with_cells("age", [2, 5], [2.0, 5.0])
    overlay = everywhere.with_cells("text", [5], ["five"])
    assert overlay.rows_of("age").tolist() == [2, 5]
    some = overlay.without(np.array([5]), ["age"])
    assert (some.rows_of("age").tolist(), some.rows_of("text").tolist()) == ([2], [5])
    left = overlay.without(np.array([5]))
    assert left.columns == ("age",)
    positions, cells = left.cells("age", np.array([2, 5]))
    assert (positions.tolist(), cells) == ([0, 1], [2.0, 1.0])
