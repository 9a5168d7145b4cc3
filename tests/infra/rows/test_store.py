"""What was written is read, whole and in part."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.rows import (
    Cells,
    ColumnSpec,
    DamagedStore,
    DuplicateIds,
    NoRows,
    NullIds,
    PackedStrings,
    ReadOnlyStore,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
    StoreExists,
    TooManySplits,
    UnknownColumn,
)
from tests.infra.rows.stores import Data, data, ids, on_disk, small, write


@on_disk
@given(data(), st.data())
def test_every_cell_and_role_comes_back(rows: Data, draw: st.DataObject) -> None:
    count = len(rows.ids)
    asked = draw.draw(st.lists(st.integers(0, count - 1)))
    numbers = np.array(asked, np.int64)
    with TemporaryDirectory() as folder:
        write(Path(folder, "rows"), rows)
        with RowStore.open(Path(folder, "rows")) as store:
            assert store.rows == count
            assert list(store.columns.values()) == rows.specs
            assert store.ids(numbers) == [rows.ids[row] for row in asked]
            assert store.subjects(numbers) == [rows.subjects[row] for row in asked]
            assert store.splits_of(numbers) == [rows.splits[row] for row in asked]
            for name, cells in rows.cells.items():
                assert store.cells(name, numbers) == [cells[row] for row in asked]


@on_disk
@given(data(), st.lists(ids))
def test_rows_are_found_by_id_subject_split_and_label(rows: Data, unknown: list[str]) -> None:
    everyone = [*rows.ids, *(key for key in unknown if key not in rows.ids)]
    with TemporaryDirectory() as folder:
        write(Path(folder, "rows"), rows)
        with RowStore.open(Path(folder, "rows")) as store:
            found = store.find(everyone)
            of_subjects, known = store.find_subjects(["u", "nobody", "v", "u"])
            labels = rows.cells["label"]

            assert found.tolist() == [
                *range(len(rows.ids)),
                *[-1] * (len(everyone) - len(rows.ids)),
            ]
            assert of_subjects.tolist() == [
                row for row, subject in enumerate(rows.subjects) if subject in {"u", "v"}
            ]
            assert known.tolist() == [s in rows.subjects for s in ("u", "nobody", "v", "u")]
            assert store.in_split("train").tolist() == [
                row for row, split in enumerate(rows.splits) if split == "train"
            ]
            assert store.in_split(None).tolist() == list(range(len(rows.ids)))
            assert store.with_labels([0, 1, "1", 1000]).tolist() == [
                row for row, label in enumerate(labels) if label in {0, 1}
            ]


def test_splits_are_counted(tmp_path: Path) -> None:
    small(tmp_path / "rows", count=40)

    assert RowStore.open(tmp_path / "rows").splits() == {"test": 10, "train": 30}


def test_labels_may_be_strings_and_the_empty_one_is_not_null(tmp_path: Path) -> None:
    spec = ColumnSpec("kind", "string", "utf8")
    writer = RowWriter.create(tmp_path / "rows", [spec], Roles("id", label="kind"))
    cells = Cells.of(spec, ["spam", "ham", None, "spam", ""])
    writer.append(RowBatch(PackedStrings.of(list("abcde")), {"kind": cells}))
    writer.finish()
    store = RowStore.open(tmp_path / "rows")

    assert store.with_labels(["spam"]).tolist() == [0, 3]
    assert store.with_labels([""]).tolist() == [4]


def test_an_unknown_id_never_reads_another_row(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    store = RowStore.open(tmp_path / "rows")

    with pytest.raises(IndexError):
        store.read("image", store.find(["nobody"]))


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    small(tmp_path / "rows")

    with pytest.raises(UnknownColumn, match="'height'"):
        RowStore.open(tmp_path / "rows").read("height", np.array([0]))


def test_a_store_opened_for_reading_is_not_changed(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    store = RowStore.open(tmp_path / "rows")

    with pytest.raises(ReadOnlyStore):
        store.erase(np.array([0]))
    with pytest.raises(ReadOnlyStore):
        store.overwrite("label", np.array([0]), [1])


def writer_of(folder: Path, keys: list[str]) -> RowWriter:
    writer = RowWriter.create(folder, [], Roles("id"))
    writer.append(RowBatch(PackedStrings.of(keys), {}))
    return writer


def test_ids_that_repeat_are_counted_and_nothing_appears(tmp_path: Path) -> None:
    writer = writer_of(tmp_path / "rows", ["a", "b", "a", "c", "a"])

    with pytest.raises(DuplicateIds) as caught:
        writer.finish()
    writer.discard()

    assert caught.value.count == 2
    assert list(tmp_path.iterdir()) == []


def test_rows_without_an_id_are_counted(tmp_path: Path) -> None:
    with writer_of(tmp_path / "rows", ["a", "", ""]) as writer, pytest.raises(NullIds) as caught:
        writer.finish()

    assert caught.value.count == 2


def test_a_store_has_rows(tmp_path: Path) -> None:
    with writer_of(tmp_path / "rows", []) as writer, pytest.raises(NoRows):
        writer.finish()


def test_a_column_of_names_is_no_split(tmp_path: Path) -> None:
    keys = PackedStrings.of([f"{number}" for number in range(1001)])
    with (
        RowWriter.create(tmp_path / "rows", [], Roles("id", split="name")) as writer,
        pytest.raises(TooManySplits),
    ):
        writer.append(RowBatch(keys, {}, splits=keys))


def test_a_place_is_taken_once(tmp_path: Path) -> None:
    late = writer_of(tmp_path / "rows", ["a"])
    small(tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "rows")

    with late, pytest.raises(StoreExists):
        late.finish()
    with pytest.raises(StoreExists):
        RowWriter.create(tmp_path / "rows", [], Roles("id"))


CRASH = """
import os, signal, sys
from pathlib import Path
from app.infra.rows import PackedStrings, Roles, RowBatch, RowWriter
writer = RowWriter.create(Path(sys.argv[1]), [], Roles("id"))
writer.append(RowBatch(PackedStrings.of(["left-behind-%d" % i for i in range(10000)]), {}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_import_left_is_gone_after_the_next(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path / "rows")],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith("rows.partial-")

    small(tmp_path / "rows")

    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("name", ["rows.json", "ids.index", "marks.cells", "column-0000.cells"])
def test_a_store_without_one_of_its_files_is_not_opened(tmp_path: Path, name: str) -> None:
    small(tmp_path / "rows")
    (tmp_path / "rows" / name).unlink()

    with pytest.raises(DamagedStore):
        RowStore.open(tmp_path / "rows")


def test_a_file_of_a_wrong_size_is_not_mapped(tmp_path: Path) -> None:
    small(tmp_path / "rows")
    with (tmp_path / "rows" / "column-0001.cells").open("ab") as file:
        file.write(b"1")

    with pytest.raises(DamagedStore):
        RowStore.open(tmp_path / "rows")
