"""Sets, deletions and kept networks of the deletion study."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from benchmarks.quality.deletion_cases import (
    by_difficulty,
    deleted,
    epoch_seconds,
    recipe_of,
    trained_or_kept,
    without,
)
from benchmarks.quality.deletion_sets import SETS, Study


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """Forty mails in order of their class; every fourth is a test mail."""
    spam = np.arange(40) >= 20
    pq.write_table(
        pa.table({
            "sample_id": [str(n) for n in range(40)],
            "subject_id": ["a" if n % 10 else "b" for n in range(40)],
            "split": ["test" if n % 4 == 0 else "train" for n in range(40)],
            "label": spam.astype(np.int8),
            "subject_line": ["Win" if is_spam else "Minutes" for is_spam in spam],
            "text": [f"word{n} win" if is_spam else f"word{n}" for n, is_spam in enumerate(spam)],
        }),
        tmp_path / "enron1_spam.parquet",
    )
    return tmp_path


def test_mails_are_words_of_training_mails_of_both_classes(mails: Path) -> None:
    study = SETS["enron"](mails, 24)
    assert study.training.targets.bincount().min() > 5  # although the file is in order
    assert len(study.holdout) == 10
    assert set(study.training.inputs.unique().tolist()) == {0.0, 1.0}
    # `win` and `minutes` are the most frequent words, and tell the classes apart.
    columns = study.training.inputs[:, :2].argmax(1)
    agree = float((columns == study.training.targets).double().mean())
    assert agree in (0.0, 1.0)


def test_deletions_name_what_they_say() -> None:
    pytest.importorskip("sklearn")
    study = SETS["digits"](Path(), 200)
    assert len(study.training) == 200
    assert len(deleted(study, "random")) == 10
    gone = deleted(study, "class")
    assert set(study.training.targets[gone].tolist()) == {study.halved}
    members = int((study.training.targets == study.halved).sum())
    assert len(gone) == members // 2
    owner = study.subjects[deleted(study, "subject")].unique()
    assert len(owner) == 1
    assert len(without(study, gone)) == 200 - len(gone)


def test_classes_are_ranked_by_what_a_network_makes_of_unseen_rows(mails: Path) -> None:
    study = SETS["enron"](mails, 24)
    always = nn.Linear(study.training.inputs.shape[1], 2)
    nn.init.zeros_(always.weight)
    with torch.no_grad():
        always.bias.copy_(torch.tensor([1.0, 0.0]))
    assert by_difficulty(study, always) == [1, 0]
    labels = study.training.targets
    easy = deleted(study, "easy_class", [1, 0])
    assert set(labels[easy].tolist()) == {0}
    assert len(easy) == int((labels == 0).sum()) // 2
    assert set(labels[deleted(study, "middle_class", [0, 1])].tolist()) == {1}


def test_an_epoch_is_timed_by_what_it_takes_here(mails: Path) -> None:
    study = SETS["enron"](mails, 24)
    epoch_seconds(study, study.training, recipe_of(30, 0))  # first calls import
    started = time.process_time()
    one = epoch_seconds(study, study.training, recipe_of(30, 0))
    spent = time.process_time() - started
    assert 0 < one < spent / 2  # an epoch of two dozen rows is far below the second it is timed for


def test_kept_networks_are_read_again(mails: Path, tmp_path: Path) -> None:
    study: Study = SETS["enron"](mails, 24)
    first = trained_or_kept(tmp_path, "one", study, study.training, recipe_of(2, 0))
    other = trained_or_kept(tmp_path, "one", study, study.training, recipe_of(9, 5))
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
