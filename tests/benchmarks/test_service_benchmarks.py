"""The benchmarks that go through the HTTP API run on small data of the same shape."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from torch.testing import assert_close

from benchmarks import adult_removal, fashion_correction

SPLITS = ("train",) * 160 + ("test",) * 60


def keys(seed: int) -> dict[str, list[str]]:
    """The columns that every data set has; the first subject has most rows."""
    generator = np.random.default_rng(seed)
    subjects = (12 * generator.random(len(SPLITS)) ** 2).astype(int)
    return {
        "sample_id": [f"row-{row:03}" for row in range(len(SPLITS))],
        "subject_id": [f"subject-{number:02}" for number in subjects],
        "split": list(SPLITS),
    }


def write_clothes(folder: Path) -> None:
    """Images whose bright column says the class."""
    generator = np.random.default_rng(0)
    labels = np.arange(len(SPLITS)) % 10
    images = generator.integers(0, 60, (len(SPLITS), 28, 28))
    for row, label in enumerate(labels):
        images[row, :, 2 * label + 2] += 180
    pixels = pa.array(images.astype(np.uint8).ravel())
    table = pa.table({
        **keys(0),
        "label": pa.array(labels, pa.int8()),
        "image": pa.FixedSizeListArray.from_arrays(pixels, 784),
    })
    pq.write_table(table, folder / "fashion_mnist.parquet")


def write_adults(folder: Path) -> None:
    """Numbers and categories on which the label depends, with some unknown."""
    generator = np.random.default_rng(1)
    count = len(SPLITS)
    columns: dict[str, object] = {
        name: generator.integers(0, 50, count).astype(np.int32) for name in adult_removal.NUMBERS
    }
    for name in adult_removal.CATEGORIES:
        drawn = generator.integers(0, 3, count)
        columns[name] = [None if n == 2 and name == "workclass" else f"{name}-{n}" for n in drawn]
    is_male = np.array([str(value).endswith("1") for value in columns["sex"]])  # type: ignore[attr-defined]  # a list
    score = np.asarray(columns["age"]) / 25 + is_male + generator.normal(0, 0.5, count)
    table = pa.table({**keys(1), **columns, "label": pa.array(score > 1.5).cast(pa.int8())})
    pq.write_table(table, folder / "adult.parquet")


@pytest.mark.slow
def test_correction_of_a_class_gives_a_line_for_every_method_and_control(tmp_path: Path) -> None:
    write_clothes(tmp_path)
    said: list[str] = []

    table, aims = fashion_correction.run(tmp_path, None, 2, 0, said.append)

    console = Console(width=120, record=True)
    console.print(table)
    printed = console.export_text()
    names = ["do nothing", "fine-tune", "random mask", *fashion_correction.METHODS, "from scratch"]
    for name in names:
        assert name in printed
    assert "8 of 160 training labels" in printed
    assert len(aims) == 4 * len(fashion_correction.JUDGED)
    assert len(said) >= 2


@pytest.mark.slow
def test_one_request_comes_twenty_times_nearer_to_the_retrained_optimum(tmp_path: Path) -> None:
    write_adults(tmp_path)

    distances = adult_removal.run(tmp_path, None)

    assert ["deletion" in d.name for d in distances] == [True, False]
    for distance in distances:
        assert distance.ratio >= adult_removal.LEAST_RATIO
        assert distance.report["assurance"] in {"empirical", "exact", "certified"}


def test_optimum_has_no_gradient() -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(size=(50, 4))
    labels = (generator.random(50) < 0.4).astype(float)

    theta = torch.from_numpy(adult_removal.optimum(features, labels)).requires_grad_()

    logits = torch.from_numpy(features) @ theta
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels))
    (loss + adult_removal.WEIGHT_DECAY / 2 * theta.square().sum()).backward()
    assert theta.grad is not None
    assert_close(theta.grad, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
