"""A Parquet file becomes a store of the same rows, or is refused and leaves nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.infra.rows import Cell, Roles, RowStore, StoreExists
from workers.sources import parquet
from workers.sources.errors import ImportRefused
from workers.sources.guard import Verdict
from workers.sources.parquet import import_parquet

ROLES = Roles("id", "person", "part", "y")

columns = {
    "flag": (pa.bool_(), st.booleans().map(int)),
    "small": (pa.int8(), st.integers(-128, 127)),
    "large": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "half": (pa.float16(), st.floats(width=16, allow_nan=False)),
    "real": (pa.float64(), st.floats(allow_nan=False)),
    "text": (pa.string(), st.text(max_size=9)),
    "wide": (pa.large_string(), st.text(max_size=9)),
    "kind": (pa.dictionary(pa.int16(), pa.string()), st.sampled_from(["a", "b", ""])),
    "fixed": (pa.list_(pa.uint8(), 3), st.lists(st.integers(0, 255), min_size=3, max_size=3)),
    "list": (
        pa.list_(pa.float32()),
        st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2),
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    chosen = draw(st.lists(st.sampled_from(sorted(columns)), unique=True))
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    names = st.text(letters, min_size=1, max_size=12)
    ids = draw(st.lists(names, min_size=1, max_size=15, unique=True))

    def cells(strategy: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(strategy, min_size=len(ids), max_size=len(ids)))

    arrays = {
        "id": pa.array(ids),
        "person": pa.array(cells(st.none() | st.sampled_from([1, 2, -3])), pa.int32()),
        "part": pa.array(cells(st.none() | st.sampled_from(["train", "test"])), pa.string()),
        "y": pa.array(cells(st.none() | st.integers(0, 9)), pa.int8()),
    }
    for name in chosen:
        dtype, strategy = columns[name]
        # The first is never null, so that a list shows its length.
        some = [draw(strategy), *cells(st.none() | strategy)][: len(ids)]
        if name == "flag":
            some = [None if flag is None else bool(flag) for flag in some]
        arrays[name] = pa.array(some, dtype)
    return pa.table(arrays)


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(1, 20), st.sampled_from(["snappy", "none"]))
def test_every_cell_comes_back(table: pa.Table, group: int, compression: str) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "f.parquet", row_group_size=group, compression=compression)

        imported = import_parquet(folder / "f.parquet", folder / "rows", ROLES)

        rows = np.arange(table.num_rows)
        with RowStore.open(folder / "rows") as store:
            assert imported.rows == store.rows == table.num_rows
            assert imported.splits == store.splits()
            assert store.ids(rows) == table["id"].to_pylist()
            assert store.find(table["id"].to_pylist()).tolist() == rows.tolist()
            people = table["person"].to_pylist()
            assert store.subjects(rows) == [None if p is None else str(p) for p in people]
            assert store.splits_of(rows) == table["part"].to_pylist()
            assert set(store.columns) == set(table.column_names) - {"id", "person", "part"}
            for column in store.columns:
                assert store.cells(column, rows) == table[column].to_pylist()


def good_table(count: int = 6) -> pa.Table:
    return pa.table({
        "id": pa.array([f"sample-{i}" for i in range(count)]),
        "person": pa.array([f"person-{i % 2}" for i in range(count)]),
        "part": pa.array(["train"] * count),
        "y": pa.array(range(count), pa.int8()),
        "x": pa.array([[i, i + 1] for i in range(count)], pa.list_(pa.int32(), 2)),
    })


def with_column(name: str, array: pa.Array) -> pa.Table:
    table = good_table()
    place = table.column_names.index(name) if name in table.column_names else -1
    return table.append_column(name, array) if place < 0 else table.set_column(place, name, array)


refused_tables = {
    "no rows": ("no-rows", good_table(0)),
    "an id twice": ("duplicate-ids", with_column("id", pa.array(["a", "b", "c", "d", "e", "b"]))),
    "ids null": ("null-ids", with_column("id", pa.array(["a", None, "c", None, "e", "f"]))),
    "an empty id": ("null-ids", with_column("id", pa.array(["a", "", "c", "d", "e", "f"]))),
    "all ids null": ("unsupported-column", with_column("id", pa.nulls(6))),
    "ids are floats": ("unsupported-column", with_column("id", pa.array([0.5] * 6))),
    "no label": ("missing-columns", good_table().drop_columns(["y"])),
    "no id": ("missing-columns", good_table().drop_columns(["id"])),
    "unequal lists": (
        "unsupported-column",
        with_column("x", pa.array([[1, 2]] * 5 + [[1]], pa.list_(pa.int32()))),
    ),
    "null in a list": (
        "unsupported-column",
        with_column("x", pa.array([[1, 2]] * 5 + [[1, None]], pa.list_(pa.int32(), 2))),
    ),
    "only null lists": ("unsupported-column", with_column("x", pa.nulls(6, pa.list_(pa.int8())))),
    "empty lists": (
        "unsupported-column",
        with_column("x", pa.array([[]] * 6, pa.list_(pa.int8()))),
    ),
    "strings in lists": ("unsupported-column", with_column("x", pa.array([["a"]] * 6))),
    "dates": ("unsupported-column", with_column("d", pa.array([0] * 6, pa.date32()))),
    "structs": ("unsupported-column", with_column("d", pa.array([{"a": 1}] * 6))),
    "bytes": ("unsupported-column", with_column("d", pa.array([b"1"] * 6))),
    "not UTF-8": (
        "unsupported-column",
        with_column("d", pa.array([b"\xff\xfe"] * 6).cast(pa.binary()).view(pa.string())),
    ),
    "a name twice": ("unsupported-column", good_table().append_column("x", pa.array([1] * 6))),
}


@pytest.mark.parametrize("case", refused_tables)
def test_an_unusable_table_is_refused_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    code, table = refused_tables[case]
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)

    with pytest.raises(ImportRefused) as caught:
        import_parquet(path, tmp_path / "rows", ROLES)

    assert caught.value.code == code
    assert "sample-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_the_number_of_rows_at_fault_is_told(tmp_path: Path) -> None:
    pq.write_table(refused_tables["ids null"][1], tmp_path / "f.parquet")

    with pytest.raises(ImportRefused) as caught:
        import_parquet(tmp_path / "f.parquet", tmp_path / "rows", ROLES)

    assert caught.value.counts == {"rows": 2}


def damaged(content: bytes, case: str) -> bytes:
    return {
        "empty": b"",
        "magic alone": b"PAR1",
        "a pickle": b"\x80\x04N." * 9,
        "zeros": bytes(10_000),
        "half": content[: len(content) // 2],
        "no end": content[:-1],
        "no begin": content[1:],
        "footer of zeros": content[:-200] + bytes(192) + content[-8:],
        "footer too long": content[:-8] + b"\xff\xff\xff\x7fPAR1",
        "pages of zeros": content[:4] + bytes(400) + content[404:],
    }[case]


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("empty", "not-parquet"),
        ("magic alone", "truncated-parquet"),
        ("a pickle", "not-parquet"),
        ("zeros", "not-parquet"),
        ("half", "truncated-parquet"),
        ("no end", "truncated-parquet"),
        ("no begin", "not-parquet"),
        ("footer of zeros", "not-parquet"),
        ("footer too long", "not-parquet"),
        ("pages of zeros", "not-parquet"),
    ],
)
def test_what_is_not_parquet_is_refused_and_nothing_is_left(
    tmp_path: Path, case: str, code: str
) -> None:
    path = tmp_path / "f.parquet"
    pq.write_table(good_table(60), path)
    path.write_bytes(damaged(path.read_bytes(), case))

    with pytest.raises(ImportRefused) as caught:
        import_parquet(path, tmp_path / "rows", ROLES)

    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == [path]


# The same examples each time: on one in many thousands the Parquet library itself aborts, and what
# a worker that dies leaves behind is held by the tests of killed workers.
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1),
    st.sampled_from(["snappy", "none", "zstd"]),
)
def test_changed_bytes_are_imported_or_refused(
    changes: list[tuple[float, int]], compression: str
) -> None:
    table = good_table(60).append_column("kind", pa.array(["a", "b"] * 30).dictionary_encode())
    with TemporaryDirectory() as name:
        path = Path(name, "f.parquet")
        pq.write_table(table, path, compression=compression)
        content = bytearray(path.read_bytes())
        for place, byte in changes:
            content[int(place * len(content))] = byte
        path.write_bytes(content)

        try:
            import_parquet(path, Path(name, "rows"), ROLES, largest_bytes=1 << 26)
        except ImportRefused:
            assert list(Path(name).iterdir()) == [path]
        else:
            with RowStore.open(Path(name, "rows")) as store:
                store.ids(np.arange(store.rows))


def test_a_file_that_unpacks_to_more_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    table = pa.table({"id": pa.array(range(50_000)), "text": pa.array(["long " * 50] * 50_000)})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 1 << 20

    for room in (1 << 20, 8 << 20):  # too little for the numbers, then for the strings
        with pytest.raises(ImportRefused) as caught:
            import_parquet(path, tmp_path / "rows", Roles("id"), largest_bytes=room)
        assert caught.value.code == "too-large"
    assert list(tmp_path.iterdir()) == [path]


def test_the_import_can_be_ended_from_its_progress(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def cancel(fraction: float) -> None:
        raise Cancelled

    path = tmp_path / "f.parquet"
    pq.write_table(good_table(), path)

    with pytest.raises(Cancelled):
        import_parquet(path, tmp_path / "rows", ROLES, progress=cancel)

    assert list(tmp_path.iterdir()) == [path]


def test_progress_rises_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_BATCH_ROWS", 2)
    pq.write_table(good_table(), tmp_path / "f.parquet")
    heard: list[float] = []

    import_parquet(tmp_path / "f.parquet", tmp_path / "rows", ROLES, progress=heard.append)

    assert heard == sorted(heard)
    assert len(heard) == 4
    assert heard[-1] == 1.0


def test_a_store_is_not_replaced(tmp_path: Path) -> None:
    pq.write_table(good_table(), tmp_path / "f.parquet")
    import_parquet(tmp_path / "f.parquet", tmp_path / "rows", ROLES)

    with pytest.raises(StoreExists):
        import_parquet(tmp_path / "f.parquet", tmp_path / "rows", ROLES)


class Watch:
    """Rows of person-1 are suppressed; 2 as a label has become 7."""

    def __init__(self, mode: Literal["refuse", "drop"]) -> None:
        self.mode: Literal["refuse", "drop"] = mode
        self.seen: list[str] = []

    def inspect(
        self,
        ids: Sequence[str],
        subjects: Sequence[str | None],
        cell: Callable[[str], Sequence[Cell]],
    ) -> Verdict:
        self.seen += ids
        labels = cell("y")
        drop = np.array([subject == "person-1" for subject in subjects])
        old = [i for i, label in enumerate(labels) if label == 2]
        return Verdict(
            drop,
            [("y", i, 7) for i in old] + [("x", i, [70, 71]) for i in old],
            {"subjects": int(drop.sum()), "values": len(old)},
        )


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_suppressed_rows_are_dropped_and_old_values_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(parquet, "MOST_BATCH_ROWS", batch)
    pq.write_table(good_table(), tmp_path / "f.parquet")
    watch = Watch("drop")

    imported = import_parquet(tmp_path / "f.parquet", tmp_path / "rows", ROLES, guard=watch)

    store = RowStore.open(tmp_path / "rows")
    rows = np.arange(3)
    assert (imported.rows, imported.dropped, imported.corrected) == (3, 3, 2)
    assert store.ids(rows) == ["sample-0", "sample-2", "sample-4"]
    assert store.cells("y", rows) == [0, 7, 4]
    assert store.cells("x", rows) == [[0, 1], [70, 71], [4, 5]]
    assert watch.seen == [f"sample-{i}" for i in range(6)]


@pytest.mark.parametrize("batch", [1, 100])
def test_suppressed_rows_refuse_the_file_with_counts_over_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(parquet, "MOST_BATCH_ROWS", batch)
    path = tmp_path / "f.parquet"
    pq.write_table(good_table(), path)

    with pytest.raises(ImportRefused) as caught:
        import_parquet(path, tmp_path / "rows", ROLES, guard=Watch("refuse"))

    assert caught.value.code == "suppressed-samples"
    assert caught.value.counts == {"subjects": 3, "values": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_one_column_may_play_two_roles(tmp_path: Path) -> None:
    pq.write_table(good_table(), tmp_path / "f.parquet")

    import_parquet(tmp_path / "f.parquet", tmp_path / "rows", Roles("id", "id", None, "part"))

    store = RowStore.open(tmp_path / "rows")
    assert store.subjects(np.array([3])) == ["sample-3"]
    assert store.with_labels(["train"]).tolist() == [0, 1, 2, 3, 4, 5]
    assert set(store.columns) == {"person", "part", "y", "x"}
