"""A problem holds the rows it should, with the values it should."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from app.domain.catalog import Version
from app.domain.edits import Edits, View
from app.infra.rows import Cells, ColumnSpec, Overlay, PackedStrings, Roles, RowBatch, RowWriter
from app.infra.settings import settings
from app.infra.storage import open_store
from app.unlearning.recipe import Perturbation
from app.unlearning.rows import Rows
from workers.loading import Loaded, load

CPU = torch.device("cpu")
TRAINING, ALL = 40, 50
LAYERS: list[dict[str, Any]] = [
    {"type": "linear", "in_features": 2, "out_features": 4},
    {"type": "relu"},
    {"type": "linear", "in_features": 4, "out_features": 3},
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with one data set: row i has features (i, -i) and label i % 3."""
    monkeypatch.setenv("LETHE_HOME", str(tmp_path))
    settings.cache_clear()
    specs = [
        ColumnSpec("label", "number", "int64", None, nullable=False),
        ColumnSpec("x", "list", "float32", 2, nullable=False),
    ]
    folder = tmp_path / "rows" / "set"
    folder.parent.mkdir()
    writer = RowWriter.create(folder, specs, Roles("id", None, "split", "label"))
    cells: dict[str, list[Any]] = {
        "label": [row % 3 for row in range(ALL)],
        "x": [[float(row), -float(row)] for row in range(ALL)],
    }
    writer.append(
        RowBatch(
            ids=PackedStrings.of([f"r{row}" for row in range(ALL)]),
            subjects=None,
            splits=PackedStrings.of(["train" if row < TRAINING else "test" for row in range(ALL)]),
            columns={spec.name: Cells.of(spec, cells[spec.name]) for spec in specs},
        )
    )
    writer.finish()
    yield tmp_path
    settings.cache_clear()


def version_of(home: Path, layers: list[dict[str, Any]]) -> Version:
    torch.manual_seed(0)
    made = {"linear": lambda o: nn.Linear(o["in_features"], o["out_features"])}
    model = nn.Sequential(
        *(made.get(layer["type"], lambda _: nn.ReLU())(layer) for layer in layers)
    )
    file = home / "weights.safetensors"
    save_file(model.state_dict(), file)
    open_store(settings().store_url).put_file("weights/one", file)
    return Version(
        weights_key="weights/one",
        architecture={"builder": "sequential", "config": {"layers": layers}},
        inputs={"kind": "vector", "column": "x", "length": 2},
        objective="cross_entropy",
        weight_decay=0.0,
        recipe=None,
    )


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def view_of(version: Version, kind: str, **edits: Any) -> View:
    given = {"forget": rows(), "replaced": rows(), "removed": rows()} | edits
    own = Edits(
        dataset_id="ds",
        revision=1,
        folder="set",
        split="train",
        holdout_split="test",
        trained=given.pop("trained", Overlay()),
        edited=given.pop("edited", Overlay()),
        **given,
    )
    return View(version, kind, ("req_a",), own, ())


def loaded_of(view: View, **parameters: Any) -> Loaded:
    return load(view, "job_a", parameters, CPU, lambda _: None)


def numbers_in(rows: Rows) -> list[int]:
    return [int(x) for batch in rows.batches(7) for x in batch.inputs[:, 0]]


def labels_in(rows: Rows) -> list[int]:
    return [int(y) for batch in rows.batches(7) for y in batch.targets]


def test_deletion_leaves_the_other_training_rows(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3, 4), removed=rows(3, 4, 45))
    loaded = loaded_of(view)
    problem = loaded.problem
    assert numbers_in(problem.forget) == [3, 4]
    assert len(problem.replacement) == 0
    assert numbers_in(problem.retained) == [n for n in range(TRAINING) if n not in (3, 4)]
    assert problem.retained_total == 38
    assert problem.holdout is not None
    assert numbers_in(problem.holdout) == [n for n in range(TRAINING, ALL) if n != 45]
    assert loaded.sets.deleted is loaded.sets.forget
    assert not len(loaded.sets.corrected or ())


def test_results_are_measured_on_other_rows_than_a_method_has_at_hand(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3), removed=rows(3, 9))
    loaded = loaded_of(view, retained_rows=10)
    at_hand, measured = loaded.problem.retained, loaded.sets.retained
    assert measured is not None
    assert len(at_hand) == len(measured) == 10
    new = set(numbers_in(measured)) - set(numbers_in(at_hand))
    assert loaded.only_measured == len(new) > 0
    assert not {3, 9} & set(numbers_in(measured))
    again = loaded_of(view, retained_rows=10).sets.retained
    assert again is not None
    assert numbers_in(again) == numbers_in(measured)
    everything = loaded_of(view, retained_rows=100)
    assert everything.sets.retained is everything.problem.retained
    assert everything.only_measured == 0


def test_rows_of_another_pending_deletion_are_not_retained(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3), removed=rows(3, 9))
    assert 9 not in numbers_in(loaded_of(view).problem.retained)


def test_untouched_rows_are_what_was_trained_on_whoever_asks_for_them_now(home: Path) -> None:
    """Others want row 9 deleted and row 11 corrected; row 5 was corrected before."""
    trained = Overlay().with_cells("label", rows(5), [0])
    edited = trained.with_cells("label", rows(11), [0]).with_cells("label", rows(1), [0])
    view = view_of(
        version_of(home, LAYERS),
        "mixed",
        forget=rows(1, 3),
        replaced=rows(1),
        removed=rows(3, 9, 20),
        pending=rows(9),
        trained=trained,
        edited=edited,
    )
    problem = loaded_of(view).problem
    assert problem.untouched is not None
    untouched = problem.untouched()
    seen = dict(zip(numbers_in(untouched), labels_in(untouched), strict=True))
    # Row 20 was forgotten before.
    assert sorted(seen) == [n for n in range(TRAINING) if n not in (1, 3, 20)]
    assert (seen[5], seen[11]) == (0, 2)
    retained = dict(zip(numbers_in(problem.retained), labels_in(problem.retained), strict=True))
    assert 9 not in retained
    assert retained[11] == 0


def test_without_other_requests_untouched_rows_are_the_retained_ones(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3), removed=rows(3))
    problem = loaded_of(view).problem
    assert problem.untouched is problem.full_retained
    shared = view_of(
        version_of(home, LAYERS),
        "deletion",
        forget=rows(3),
        removed=rows(3),
        is_separate=False,
    )
    assert loaded_of(shared).problem.untouched is None


def test_a_recipe_tells_of_the_noise(home: Path) -> None:
    version = version_of(home, LAYERS)
    version.recipe = {
        "optimizer": "lbfgs",
        "learning_rate": 1.0,
        "batch_size": 8,
        "epochs": 3,
        "trained": "last_layer",
        "perturbation": {"standard_deviation": 2.0, "gradient_norm": 0.5},
    }
    view = view_of(version, "deletion", forget=rows(3), removed=rows(3))
    problem = load(view, "job_a", {}, CPU, lambda _: None, 0.75).problem
    assert problem.recipe is not None
    assert problem.recipe.trained == "last_layer"
    assert problem.recipe.perturbation == Perturbation(2.0, 0.5)
    assert problem.spent == 0.75


def test_correction_brings_old_and_new_values_side_by_side(home: Path) -> None:
    edited = Overlay().with_cells("label", rows(1, 2, 9), [0, 0, 0])
    trained = Overlay().with_cells("label", rows(9), [0])
    view = view_of(
        version_of(home, LAYERS),
        "label_correction",
        forget=rows(1, 2),
        replaced=rows(1, 2),
        trained=trained,
        edited=edited,
    )
    loaded = loaded_of(view)
    assert labels_in(loaded.problem.forget) == [1, 2]
    assert labels_in(loaded.problem.replacement) == [0, 0]
    assert numbers_in(loaded.problem.replacement) == [1, 2]
    retained = dict(
        zip(numbers_in(loaded.problem.retained), labels_in(loaded.problem.retained), strict=True)
    )
    assert 1 not in retained
    assert retained[9] == 0  # Corrected before, for good.
    assert loaded.sets.corrected is not None
    assert labels_in(loaded.sets.corrected) == [0, 0]
    assert len(loaded.sets.deleted or ()) == 0


def test_correction_to_the_same_label_relabels_nothing(home: Path) -> None:
    edited = Overlay().with_cells("label", rows(1), [1]).with_cells("x", rows(1), [[5.0, 5.0]])
    view = view_of(
        version_of(home, LAYERS), "mixed", forget=rows(1, 2), replaced=rows(1), edited=edited
    )
    loaded = loaded_of(view)
    assert len(loaded.sets.corrected or ()) == 0
    assert numbers_in(loaded.problem.replacement) == [5]
    assert loaded.sets.deleted is not None
    assert numbers_in(loaded.sets.deleted) == [2]


def test_retained_rows_are_a_bounded_sample_that_every_attempt_draws_alike(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3), removed=rows(3))
    first, second = (loaded_of(view, retained_rows=10).problem for _ in range(2))
    assert len(first.retained) == 10
    assert first.retained_total == 39
    assert first.retained_weight == pytest.approx(3.9)
    assert numbers_in(first.retained) == numbers_in(second.retained)
    assert first.full_retained is not None
    assert len(first.full_retained()) == 39


def test_convex_model_reads_every_row_unless_bounded(home: Path) -> None:
    linear = [{"type": "linear", "in_features": 2, "out_features": 3}]
    view = view_of(version_of(home, linear), "deletion", forget=rows(3), removed=rows(3))
    assert len(loaded_of(view).problem.retained) == 39
    assert len(loaded_of(view, retained_rows=10).problem.retained) == 10


def test_network_is_the_uploaded_one_and_fresh_ones_can_be_built(home: Path) -> None:
    view = view_of(version_of(home, LAYERS), "deletion", forget=rows(3), removed=rows(3))
    problem = loaded_of(view).problem
    torch.manual_seed(0)
    expected = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).state_dict()
    assert all(torch.equal(expected[name], t) for name, t in problem.model.state_dict().items())
    assert problem.build is not None
    assert problem.build().state_dict().keys() == expected.keys()
