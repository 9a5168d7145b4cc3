"""The Drebin benchmark on a small data set in the same files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.drebin_features import read, study, vocabulary

ROWS, COLUMNS = 400, 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sparse binary rows, and labels that some columns decide."""
    chance = np.random.default_rng(0)
    dense = (chance.random((ROWS, COLUMNS)) < 0.2).astype(np.int64)
    score = dense[:, :10] @ chance.normal(0, 2, 10) + chance.normal(0, 0.5, ROWS)
    np.savez(
        tmp_path / "x_train.npz",
        data=dense[dense != 0],
        indices=np.nonzero(dense)[1].astype(np.int32),
        indptr=np.concatenate([[0], np.cumsum((dense != 0).sum(1))]).astype(np.int32),
        shape=np.array(dense.shape),
    )
    np.save(tmp_path / "y_train.npy", np.where(score > 0, 1, -1))
    names = {f"feature::{column}": column for column in range(COLUMNS)}
    for protocol in (2, 3, 4):
        (tmp_path / "voc.pkl").write_bytes(pickle.dumps(names, protocol))
        assert vocabulary(tmp_path / "voc.pkl") == names
    (tmp_path / "relevant_features.txt").write_text("\n".join([*list(names)[:20], "gone"]))
    return tmp_path


def test_the_files_are_read_as_they_are(folder: Path) -> None:
    data = read(folder)
    assert data.X.shape == (ROWS, COLUMNS)
    lengths = data.X.norm(dim=1)
    assert bool(((lengths - 1).abs() < 1e-6).logical_or(lengths == 0).all())
    assert set(data.y.tolist()) == {0.0, 1.0}
    assert data.relevant == frozenset(range(20))


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit",))

    file = tmp_path / "voc.pkl"
    file.write_bytes(pickle.dumps({"a": 1, "trap": Trap(), "b": 2}))
    assert vocabulary(file)["b"] == 2


def test_every_draw_is_in_order(folder: Path) -> None:
    torch.set_num_threads(1)
    table, is_ordered = study(folder, (1, 3), 2)
    assert is_ordered
    assert table.row_count == 2
