"""Stores for tests, and what hypothesis may put into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from app.infra.rows import (
    Cell,
    Cells,
    ColumnSpec,
    PackedStrings,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
)

# Everything written is brought to the disk, which may be slow.
on_disk = settings(max_examples=20, deadline=None)

ROLES = Roles(id="id", subject="subject", split="split", label="label")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@dataclass(frozen=True)
class Data:
    """Rows as plain Python values."""

    specs: list[ColumnSpec]
    ids: list[str]
    subjects: list[str | None]
    splits: list[str | None]
    cells: dict[str, list[Cell]]


def cells_of(spec: ColumnSpec) -> st.SearchStrategy[Cell]:
    """Canonical cells of a column."""
    some: st.SearchStrategy[Cell]
    if spec.kind == "string":
        some = texts
    else:
        if spec.dtype == "bool":
            number: st.SearchStrategy[float] = st.integers(0, 1)
        elif spec.dtype.startswith("float"):
            width = {"float16": 16, "float32": 32, "float64": 64}[spec.dtype]
            number = st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]  # 16, 32 or 64
        else:
            bounds = np.iinfo(spec.dtype)
            number = st.integers(int(bounds.min), int(bounds.max))
        some = number if spec.length is None else _lists(number, spec.length)
    return st.none() | some if spec.nullable else some


def _lists(number: st.SearchStrategy[float], length: int) -> st.SearchStrategy[Cell]:
    return st.lists(number, min_size=length, max_size=length)


@st.composite
def column_specs(draw: st.DrawFn, name: str) -> ColumnSpec:
    kind = draw(st.sampled_from(["number", "list", "string"]))
    nullable = draw(st.booleans())
    if kind == "string":
        return ColumnSpec(name, "string", "utf8", None, nullable)
    dtypes = ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64"]
    dtype = draw(st.sampled_from(dtypes))
    if kind == "number":
        return ColumnSpec(name, "number", dtype, None, nullable)
    return ColumnSpec(name, "list", dtype, draw(st.integers(1, 5)), nullable)


@st.composite
def data(draw: st.DrawFn) -> Data:
    """Data sets of a few rows and columns of any type."""
    specs = [draw(column_specs(f"c{i}")) for i in range(draw(st.integers(0, 3)))]
    specs.append(ColumnSpec("label", "number", "int8"))
    keys = draw(st.lists(ids, min_size=1, max_size=12, unique=True))
    parts = st.sampled_from([None, "train", "test"])
    few = st.sampled_from([None, "u", "v", "someone rather long", "ж"])
    count = len(keys)
    return Data(
        specs=specs,
        ids=keys,
        subjects=draw(st.lists(few, min_size=count, max_size=count)),
        splits=draw(st.lists(parts, min_size=count, max_size=count)),
        cells={
            spec.name: draw(st.lists(cells_of(spec), min_size=count, max_size=count))
            for spec in specs
        },
    )


def write(folder: Path, rows: Data, batch: int = 5) -> None:
    """Write a store, some rows at a time."""
    writer = RowWriter.create(folder, rows.specs, ROLES)
    for start in range(0, len(rows.ids), batch):
        part = slice(start, start + batch)
        writer.append(
            RowBatch(
                ids=PackedStrings.of(rows.ids[part]),
                columns={
                    spec.name: Cells.of(spec, rows.cells[spec.name][part]) for spec in rows.specs
                },
                subjects=PackedStrings.of([subject or "" for subject in rows.subjects[part]]),
                splits=PackedStrings.of([split or "" for split in rows.splits[part]]),
            )
        )
    writer.finish()


def small(folder: Path, count: int = 40) -> Data:
    """Write a store whose every cell can be told from every other."""
    specs = [
        ColumnSpec("image", "list", "uint8", 16, nullable=False),
        ColumnSpec("age", "number", "float64"),
        ColumnSpec("text", "string", "utf8"),
        ColumnSpec("label", "number", "int8"),
    ]
    rng = np.random.default_rng(3)
    rows = Data(
        specs=specs,
        ids=[f"sample-{i:04d}-{rng.integers(2**40):x}" for i in range(count)],
        subjects=[f"subject-{i // 3}-{'xyz'[i // 3 % 3] * 5}" for i in range(count)],
        splits=["test" if i % 4 == 0 else "train" for i in range(count)],
        cells={
            "image": rng.integers(1, 256, (count, 16)).tolist(),
            "age": rng.normal(size=count).tolist(),
            "text": [f"the words of row {i} {rng.integers(2**40):x}" for i in range(count)],
            "label": [i % 5 for i in range(count)],
        },
    )
    write(folder, rows)
    return rows


def cell_bytes(spec: ColumnSpec, cell: Cell) -> bytes:
    """What a cell looks like in a file."""
    if cell is None:
        return b""
    if isinstance(cell, str):
        return cell.encode()
    return np.array(cell, spec.storage).tobytes()


def every_byte(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(store: RowStore, rows: Sequence[int]) -> list[object]:
    """Everything a store tells about some rows."""
    numbers = np.array(rows, np.int64)
    told: list[object] = [store.ids(numbers), store.subjects(numbers), store.splits_of(numbers)]
    told += [store.cells(name, numbers) for name in store.columns]
    return told
