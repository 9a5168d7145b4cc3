"""Data sets of the deletion study and the networks that over-fit them: images, a table, a text."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from benchmarks.adult_removal import encode, inputs_of
from benchmarks.fashion_correction import DEVIATION, MEAN, network
from benchmarks.quality.correction_cases import digit_network

LEAST_REPORTED = 400
WORDS = 1000
_WRITERS = 100


@dataclass(frozen=True)
class Study:
    """The rows of a study and its network.

    Attributes:
        build: Makes a fresh network.
        objective: What it is trained on.
        training: Trained on.
        subjects: (n,) whose row it is, as numbers.
        holdout: Never trained on; methods may read them.
        reported: Never trained on and never read by a method, where there are enough such rows;
            the held-out ones otherwise.
        halved: The class of which half is deleted.
    """

    build: Callable[[], nn.Module]
    objective: Objective
    training: TensorRows
    subjects: Tensor
    holdout: TensorRows
    reported: TensorRows
    halved: int


def load_fashion(folder: Path, rows: int) -> Study:
    """Fashion-MNIST for a CNN of 80 602 parameters; half of the shirts are deleted."""
    table = pq.read_table(folder / "fashion_mnist.parquet")
    images = table["image"].combine_chunks().flatten().to_numpy().reshape(-1, 1, 28, 28)
    inputs = torch.from_numpy((images.astype(np.float32) / 255 - MEAN) / DEVIATION)
    order = _training_first(table)
    trained, unused, held_out = _cut(order, rows, _training_rows(table))
    return _study(network, table, inputs, (trained, held_out, unused), halved=6)


def load_digits(folder: Path, rows: int) -> Study:
    """The digits that come with scikit-learn, for a small CNN; half of the eights are deleted.

    At most half of the 1 797 are trained on. The writers are made up, with a heavy tail: the first
    of them owns a tenth of all rows.
    """
    from sklearn.datasets import load_digits as bundled

    del folder
    found = bundled()
    draw = np.random.default_rng(0)
    order = draw.permutation(len(found.target))
    writers = (_WRITERS * draw.random(len(order)) ** 2).astype(np.int64)
    table = pa.table({"label": found.target[order], "subject_id": writers})
    images = torch.from_numpy((found.images[order, None] / 8 - 1).astype(np.float32))
    trained, others = torch.arange(len(order)).split([
        part := min(rows, len(order) // 2),
        len(order) - part,
    ])
    return _study(
        partial(digit_network, 64), table, images, (trained, *others.tensor_split(2)), halved=8
    )


def load_adult(folder: Path, rows: int) -> Study:
    """Adult for a dense network with one output; half of the incomes above 50K are deleted."""
    table = pq.read_table(folder / "adult.parquet")
    features = torch.from_numpy(encode(table, inputs_of(table))[:, :-1].astype(np.float32))
    trained, unused, held_out = _cut(_training_first(table), rows, _training_rows(table))
    # Two thousand rows calibrate, as for the images; methods never read the others.
    held_out, unread = held_out[:2000], torch.cat([unused, held_out[2000:]])
    build = partial(dense_network, features.shape[1], 128, 64, 1)
    study = _study(build, table, features, (trained, held_out, unread), halved=1)
    return _with_one_output(study)


def load_enron(folder: Path, rows: int) -> Study:
    """Mails as words that occur in them, for a dense network; half of the spam is deleted.

    The vocabulary is the ``WORDS`` most frequent words of the rows trained on.
    """
    table = pq.read_table(folder / "enron1_spam.parquet")
    texts = [
        set(f"{subject} {text}".lower().split())
        for subject, text in zip(
            table["subject_line"].to_pylist(), table["text"].to_pylist(), strict=True
        )
    ]
    # The file lies in order of classes and dates.
    mixed = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    order = mixed[_training_first(table.take(mixed.numpy()))]
    trained, unused, held_out = _cut(order, rows, _training_rows(table))
    counts = Counter(word for row in trained.tolist() for word in sorted(texts[row]))
    column = {word: n for n, (word, _) in enumerate(counts.most_common(WORDS))}
    inputs = torch.zeros(len(texts), WORDS)
    for row, words in enumerate(texts):
        inputs[row, [column[word] for word in words if word in column]] = 1.0
    build = partial(dense_network, WORDS, 64, 32, 2)
    return _study(build, table, inputs, (trained, held_out, unused), halved=1)


SETS: Final[Mapping[str, Callable[[Path, int], Study]]] = {
    "fashion_mnist": load_fashion,
    "digits": load_digits,
    "adult": load_adult,
    "enron": load_enron,
}


def dense_network(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with rectifiers between them."""
    layers: list[nn.Module] = []
    for one, other in pairwise(sizes):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _training_rows(table: pa.Table) -> int:
    return int(np.sum(np.array(table["split"].to_pylist()) == "train"))


def _training_first(table: pa.Table) -> Tensor:
    """Positions of all rows, those of the training split first."""
    is_test = np.array(table["split"].to_pylist()) == "test"
    return torch.from_numpy(np.argsort(is_test, kind="stable"))


def _cut(order: Tensor, rows: int, training: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first rows of the training split, its other rows, and the test split."""
    rows = min(rows, training)
    trained, unused, held_out = order.split([rows, training - rows, len(order) - training])
    return trained, unused, held_out


def _study(
    build: Callable[[], nn.Module],
    table: pa.Table,
    inputs: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    *,
    halved: int,
) -> Study:
    """Put a study together from positions: trained on, held out, and read by no method."""
    labels = torch.from_numpy(table["label"].to_numpy().astype(np.int64))
    _, owners = np.unique(np.array(table["subject_id"].to_pylist()), return_inverse=True)
    training, holdout, unread = (TensorRows(inputs[part], labels[part]) for part in parts)
    return Study(
        build=build,
        objective=Objective("cross_entropy"),
        training=training,
        subjects=torch.from_numpy(owners)[parts[0]],
        holdout=holdout,
        reported=unread if len(unread) >= LEAST_REPORTED else holdout,
        halved=halved,
    )


def _with_one_output(study: Study) -> Study:
    """The same for a network with one output, whose targets are numbers."""

    def numbers(rows: TensorRows) -> TensorRows:
        return TensorRows(rows.inputs, rows.targets.float())

    return Study(
        build=study.build,
        objective=Objective("binary_cross_entropy"),
        training=numbers(study.training),
        subjects=study.subjects,
        holdout=numbers(study.holdout),
        reported=numbers(study.reported),
        halved=study.halved,
    )
