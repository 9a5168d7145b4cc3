"""What is erased or overwritten is in no file any more, whenever it is interrupted."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import Overlay, RowStore, WrongType
from app.infra.rows.mapped import MappedFile
from tests.infra.rows.stores import Data, cell_bytes, contents, every_byte, on_disk, small

COUNT = 12

some_rows = st.sets(st.integers(0, COUNT - 1), max_size=COUNT)


def traces(folder: Path, needles: list[bytes]) -> list[str]:
    """Files that hold any of some bytes."""
    return [
        name
        for name, content in every_byte(folder).items()
        if any(needle and needle in content for needle in needles)
    ]


def bytes_of(rows: Data, row: int) -> list[bytes]:
    """All bytes that tell of a row, but for those that every row may share."""
    cells = [
        cell_bytes(spec, rows.cells[spec.name][row]) for spec in rows.specs if spec.name != "label"
    ]
    return [rows.ids[row].encode(), *cells]


@on_disk
@given(some_rows, some_rows)
def test_no_byte_of_an_erased_row_is_left_and_no_other_row_changes(
    first: set[int], second: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        rows = small(Path(folder, "rows"), COUNT)
        reader = RowStore.open(Path(folder, "rows"))
        kept = sorted(set(range(COUNT)) - first - second)
        before = contents(reader, kept)

        for gone in (first, second):
            with RowStore.open(Path(folder, "rows"), writable=True) as store:
                store.erase(np.array(sorted(gone), np.int64))

        for row in first | second:
            assert traces(Path(folder), bytes_of(rows, row)) == []
        assert contents(reader, kept) == before
        found = reader.find(rows.ids).tolist()
        assert found == [row if row in kept else -1 for row in range(COUNT)]
        assert reader.erased_rows == COUNT - len(kept)
        assert sum(reader.splits().values()) == len(kept)
        assert reader.in_split(None).tolist() == kept
        assert reader.with_labels([0, 1, 2, 3, 4]).tolist() == kept
        subjects, _ = reader.find_subjects([subject or "" for subject in rows.subjects])
        assert subjects.tolist() == kept


def test_a_subject_is_forgotten_with_its_last_row(tmp_path: Path) -> None:
    rows = small(tmp_path / "rows", COUNT)
    subject = str(rows.subjects[4])
    store = RowStore.open(tmp_path / "rows", writable=True)
    of_subject, _ = store.find_subjects([subject])
    assert of_subject.tolist() == [3, 4, 5]

    store.erase(of_subject[:2])
    left, known = store.find_subjects([subject])
    assert (left.tolist(), known.tolist()) == ([5], [True])
    assert traces(tmp_path, [subject.encode()]) == ["rows/subjects.heap"]

    store.erase(of_subject[2:])
    left, known = store.find_subjects([subject])
    assert (left.tolist(), known.tolist()) == ([], [False])
    assert traces(tmp_path, [subject.encode()]) == []


changes = st.lists(
    st.tuples(
        st.sampled_from(["image", "age", "text"]),
        st.integers(0, COUNT - 1),
        st.integers(0, 2**32 - 1),
    ),
    max_size=12,
)


def new_cell(column: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if column == "image":
        return rng.integers(1, 256, 16).tolist()
    if seed % 4 == 0:
        return None
    if column == "age":
        return float(rng.normal())
    return "new " + "".join(rng.choice(list("abcdefghé"), seed % 60))


@on_disk
@given(changes)
def test_no_byte_of_an_overwritten_cell_is_left(changes: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as folder:
        rows = small(Path(folder, "rows"), COUNT)
        specs = {spec.name: spec for spec in rows.specs}
        reader = RowStore.open(Path(folder, "rows"))
        store = RowStore.open(Path(folder, "rows"), writable=True)
        expected = {name: list(cells) for name, cells in rows.cells.items()}
        replaced = []
        for column, row, seed in changes:
            replaced.append(cell_bytes(specs[column], expected[column][row]))
            expected[column][row] = new_cell(column, seed)
            store.overwrite(column, np.array([row]), [expected[column][row]])

        everyone = np.arange(COUNT)
        for name, cells in expected.items():
            assert reader.cells(name, everyone) == cells
        now = {cell_bytes(specs[n], cell) for n, cells in expected.items() for cell in cells}
        gone = [old for old in replaced if len(old) >= 8 and not any(old in new for new in now)]
        assert traces(Path(folder), gone) == []


def test_many_strings_grow_at_once(tmp_path: Path) -> None:
    rows = small(tmp_path / "rows")
    store = RowStore.open(tmp_path / "rows", writable=True)
    reader = RowStore.open(tmp_path / "rows")
    wanted = [f"{'long ' * row}text {row}" if row % 2 else "x" for row in range(40)]

    store.overwrite("text", np.arange(40), wanted)

    assert reader.cells("text", np.arange(40)) == wanted
    assert traces(tmp_path, [cell_bytes(rows.specs[2], cell) for cell in rows.cells["text"]]) == []


def test_of_two_values_for_one_cell_the_last_counts(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    store = RowStore.open(tmp_path / "rows", writable=True)

    store.overwrite("text", np.array([3, 4, 3]), ["first", "other", "last"])

    assert store.cells("text", np.array([3, 4])) == ["last", "other"]
    assert traces(tmp_path, [b"first"]) == []


def test_an_erased_row_is_not_written_again(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    store = RowStore.open(tmp_path / "rows", writable=True)
    store.erase(np.array([3]))

    store.overwrite("text", np.array([3]), ["back again"])
    store.write_overlay(Overlay().with_cells("age", None, [12345.678]))

    assert traces(tmp_path, [b"back again"]) == []
    assert store.cells("age", np.array([2, 3, 4])) == [12345.678, None, 12345.678]


def test_one_wrong_value_changes_nothing(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    before = every_byte(tmp_path)
    store = RowStore.open(tmp_path / "rows", writable=True)

    with pytest.raises(WrongType):
        store.overwrite("label", np.array([0, 1]), [3, 300])

    assert every_byte(tmp_path) == before


class Killed(Exception):
    """The process ended here."""


def flushes_then_dies(monkeypatch: pytest.MonkeyPatch, survived: int) -> None:
    """Let a number of flushes pass, then end the process at the next."""
    real = MappedFile.flush
    left = [survived]

    def flush(self: MappedFile) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        real(self)

    monkeypatch.setattr(MappedFile, "flush", flush)


@pytest.mark.parametrize("survived", range(0, 20, 2))
def test_an_interrupted_erasure_is_finished_by_the_next_writer(
    tmp_path: Path, survived: int
) -> None:
    rows = small(tmp_path / "rows", COUNT)
    gone = np.array([1, 4, 5])
    with pytest.MonkeyPatch.context() as patch:
        flushes_then_dies(patch, survived)
        store = RowStore.open(tmp_path / "rows", writable=True)
        with pytest.raises(Killed):
            store.erase(gone)

    store = RowStore.open(tmp_path / "rows", writable=True)

    assert store.erased_rows == 3
    for row in gone.tolist():
        assert traces(tmp_path, bytes_of(rows, row)) == []
    left = [row for row in range(COUNT) if row not in gone]
    assert store.find([rows.ids[row] for row in left]).tolist() == left


@pytest.mark.parametrize("survived", range(4))
def test_an_interrupted_overwrite_is_finished_by_doing_it_again(
    tmp_path: Path, survived: int
) -> None:
    rows = small(tmp_path / "rows", COUNT)
    where, what = np.array([1, 4]), ["a much longer text than the one before, by far", "short"]
    with pytest.MonkeyPatch.context() as patch:
        flushes_then_dies(patch, survived)
        store = RowStore.open(tmp_path / "rows", writable=True)
        with pytest.raises(Killed):
            store.overwrite("text", where, what)

    store = RowStore.open(tmp_path / "rows", writable=True)
    store.overwrite("text", where, what)

    assert store.cells("text", where) == what
    old = [cell_bytes(rows.specs[2], rows.cells["text"][row]) for row in (1, 4)]
    assert traces(tmp_path, old) == []
    heap = every_byte(tmp_path)["rows/column-0002.heap"]
    assert heap.count(what[0].encode()) == 1
