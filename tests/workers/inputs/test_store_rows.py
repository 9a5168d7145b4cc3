"""Rows of a store stream like rows in memory, with targets of the objective."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from app.infra.rows import (
    BadInputs,
    Cells,
    ColumnSpec,
    Overlay,
    PackedStrings,
    Roles,
    RowBatch,
    RowStore,
    RowWriter,
)
from app.unlearning.rows import Rows, TensorRows
from workers.inputs.encoder import make_encoder
from workers.inputs.errors import UnusableTargets
from workers.inputs.store_rows import StoreRows
from workers.inputs.targets import read_targets

COUNT = 10
VECTOR = {"kind": "vector", "column": "x", "length": 4}


def store_of(folder: Path, label: ColumnSpec, labels: Sequence[Any]) -> tuple[RowStore, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    spec = ColumnSpec("x", "list", "float32", 4)
    with RowWriter.create(folder / "rows", [spec, label], Roles("id", label=label.name)) as writer:
        cells = {"x": Cells(x), label.name: Cells.of(label, labels)}
        writer.append(RowBatch(PackedStrings.of([f"{i}" for i in range(len(x))]), cells))
        writer.finish()
    return RowStore.open(folder / "rows"), x


@pytest.fixture
def both(tmp_path: Path) -> tuple[StoreRows, TensorRows]:
    """The same rows, in a store and in memory."""
    labels = [i % 3 for i in range(COUNT)]
    store, x = store_of(tmp_path, ColumnSpec("y", "number", "int8"), labels)
    order = np.array([7, 2, 9, 0, 4, 1, 8])
    encoder = make_encoder(VECTOR, store.columns)
    stored = StoreRows(store, order, encoder, "y", "cross_entropy")
    return stored, TensorRows(torch.from_numpy(x[order]), torch.tensor(labels)[order])


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_those_of_rows_in_memory(both: tuple[StoreRows, TensorRows], size: int) -> None:
    stored, held = both

    assert isinstance(stored, Rows)
    assert len(stored) == len(held)
    for _ in range(2):  # as often as one likes
        for batch, wanted in zip(stored.batches(size), held.batches(size), strict=True):
            assert_close(batch.inputs, wanted.inputs, rtol=0, atol=0)
            assert_close(batch.targets, wanted.targets, rtol=0, atol=0)
            assert batch.weights is None


def test_rows_are_taken_by_their_position(both: tuple[StoreRows, TensorRows]) -> None:
    stored, held = both
    positions = torch.tensor([6, 0, 0, 3])

    batch, wanted = stored.take(positions), held.take(positions)

    assert_close(batch.inputs, wanted.inputs, rtol=0, atol=0)
    assert_close(batch.targets, wanted.targets, rtol=0, atol=0)


def test_a_batch_holds_a_row(both: tuple[StoreRows, TensorRows]) -> None:
    with pytest.raises(ValueError):
        next(both[0].batches(0))


def test_corrected_labels_and_features_are_what_is_streamed(
    both: tuple[StoreRows, TensorRows],
) -> None:
    stored, _ = both
    overlay = Overlay().with_cells("y", [2], [5]).with_cells("x", [7], [[1.0, 2.0, 3.0, 4.0]])
    corrected = StoreRows(stored.store, stored.rows, stored.encoder, "y", "cross_entropy", overlay)

    new, old = (next(rows.batches(100)) for rows in (corrected, stored))

    assert new.inputs[0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert_close(new.inputs[1:], old.inputs[1:], rtol=0, atol=0)
    assert new.targets.tolist() == [old.targets[0].item(), 5, *old.targets[2:].tolist()]


@pytest.mark.parametrize(
    ("objective", "dtype", "labels", "wanted"),
    [
        ("cross_entropy", "uint16", [3, 0, 65535], torch.tensor([3, 0, 65535])),
        ("cross_entropy", "bool", [1, 0], torch.tensor([1, 0])),
        ("binary_cross_entropy", "int8", [1, 0], torch.tensor([1.0, 0.0])),
        ("binary_cross_entropy", "float64", [1, 0], torch.tensor([1.0, 0.0])),
        ("mean_squared_error", "float64", [1.5, -2], torch.tensor([1.5, -2.0])),
        ("mean_squared_error", "int32", [1, -2], torch.tensor([1.0, -2.0])),
    ],
)
def test_targets_are_what_the_objective_takes(
    tmp_path: Path, objective: str, dtype: str, labels: list[float], wanted: torch.Tensor
) -> None:
    store, _ = store_of(tmp_path, ColumnSpec("y", "number", dtype), labels)

    targets = read_targets(store, np.arange(len(labels)), "y", objective)

    assert_close(targets, wanted, rtol=0, atol=0)


def test_a_regression_may_have_several_outputs(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path, ColumnSpec("y", "list", "float32", 2), [[1.0, 2.0], [3.0, 4.0]])

    targets = read_targets(store, np.array([1, 0]), "y", "mean_squared_error")

    assert targets.tolist() == [[3.0, 4.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("objective", "dtype", "labels", "count"),
    [
        ("cross_entropy", "int8", [1, None, None], 2),
        ("cross_entropy", "int8", [1, -1, 0], 1),
        ("binary_cross_entropy", "int8", [0, 1, 2], 1),
        ("binary_cross_entropy", "float32", [0.5, 1, 0], 1),
        ("mean_squared_error", "float32", [float("nan"), 1, float("inf")], 2),
    ],
)
def test_labels_that_are_no_targets_are_counted(
    tmp_path: Path, objective: str, dtype: str, labels: list[float | None], count: int
) -> None:
    store, _ = store_of(tmp_path, ColumnSpec("y", "number", dtype), labels)

    with pytest.raises(UnusableTargets) as caught:
        read_targets(store, np.arange(3), "y", objective)

    assert caught.value.count == count


def test_a_class_without_an_output_is_counted(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path, ColumnSpec("y", "number", "int8"), [0, 3, 2, 7])
    rows = StoreRows(
        store, np.arange(4), make_encoder(VECTOR, store.columns), "y", "cross_entropy", classes=3
    )
    with pytest.raises(UnusableTargets, match="no output") as caught:
        next(rows.batches(4))
    assert caught.value.count == 2
    assert rows.take(torch.tensor([0, 2])).targets.tolist() == [0, 2]


def test_a_label_column_must_exist_and_fit(tmp_path: Path) -> None:
    store, _ = store_of(tmp_path, ColumnSpec("y", "string", "utf8"), ["a", "b"])

    for column in ("y", "z"):
        with pytest.raises(BadInputs):
            read_targets(store, np.arange(2), column, "cross_entropy")
