"""Logistic regressions, and what is edited of their rows, for the study of convex models."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.problem import Kind, Problem
from app.unlearning.rows import TensorRows, empty

OBJECTIVE: Final = Objective("binary_cross_entropy", 1e-3)
NUMBERS: Final = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
CATEGORIES: Final = (
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native_country",
)
RANDOM_SHARE = 0.05
CHANGED_ROWS, CHANGED_COLUMNS = 1000, 0.1

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """Training rows of a logistic regression.

    Attributes:
        inputs: (n, d) float64.
        labels: (n,) float64, 0 or 1.
        subjects: (n,) whose row it is, as numbers.
    """

    inputs: Tensor
    labels: Tensor
    subjects: Tensor


def load(folder: Path, name: str) -> Data:
    """Read a data set: ``adult``, or ``enron`` and the number of words, such as ``enron-1000``.

    Args:
        folder: With adult.parquet and enron1_spam.parquet.
        name: Which.

    Returns:
        Its training rows.
    """
    kind, _, words = name.partition("-")
    table = pq.read_table(folder / ("adult.parquet" if kind == "adult" else "enron1_spam.parquet"))
    table = table.filter(pc.equal(table["split"], "train"))
    inputs = tabular(table) if kind == "adult" else bag_of_words(table, int(words))
    _, subjects = np.unique(np.array(table["subject_id"].to_pylist()), return_inverse=True)
    labels = table["label"].to_numpy().astype(np.float64)
    return Data(torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(subjects))


def tabular(table: pa.Table) -> Matrix:
    """Standardise the numbers and spell the categories out; a missing one is all zeros."""
    columns = []
    for name in NUMBERS:
        values = table[name].to_numpy().astype(np.float64)
        columns.append(((values - values.mean()) / values.std())[:, None])
    for name in CATEGORIES:
        cells = np.array(table[name].to_pylist(), dtype=object)
        known = sorted({cell for cell in cells if cell is not None})
        columns.append((cells[:, None] == np.array(known, dtype=object)).astype(np.float64))
    return np.hstack(columns)


def bag_of_words(table: pa.Table, words: int) -> Matrix:
    """Count the words that occur in most mails, (mails, ``words``)."""
    texts = zip(table["subject_line"].to_pylist(), table["text"].to_pylist(), strict=True)
    mails = [
        Counter(re.findall(r"[a-z]{2,}|\d+", f"{subject or ''} {text or ''}".lower()))
        for subject, text in texts
    ]
    mentions = Counter(word for mail in mails for word in mail)
    # Words of equal frequency are ordered, so that a vocabulary is always the same.
    known = sorted(mentions, key=lambda word: (-mentions[word], word))[:words]
    places = {word: place for place, word in enumerate(known)}
    counts = np.zeros((len(mails), len(known)))
    for row, mail in enumerate(mails):
        for word, count in mail.items():
            if word in places:
                counts[row, places[word]] = count
    return counts


@dataclass(frozen=True)
class Edit:
    """A request.

    Attributes:
        name: For the table.
        rows: Positions of the affected rows.
        corrected: Their new inputs; None deletes them.
    """

    name: str
    rows: Tensor
    corrected: Tensor | None = None


def edits(data: Data, seed: int) -> list[Edit]:
    """Delete a random twentieth, the largest subject, half a class; correct 1,000 rows.

    The correction hands the values of a random tenth of the columns round among its rows.
    """
    draw = torch.Generator().manual_seed(seed)
    total, width = data.inputs.shape
    random = torch.randperm(total, generator=draw)[: int(RANDOM_SHARE * total)]
    largest = data.subjects.bincount().argmax()
    members = data.labels.nonzero()[:, 0]
    half = members[torch.randperm(len(members), generator=draw)[: len(members) // 2]]
    changed = torch.randperm(total, generator=draw)[: min(CHANGED_ROWS, total // 4)]
    columns = torch.randperm(width, generator=draw)[: max(1, int(CHANGED_COLUMNS * width))]
    corrected = data.inputs[changed].clone()
    others = torch.randperm(len(changed), generator=draw)
    corrected[:, columns] = corrected[others][:, columns]
    return [
        Edit(f"random {RANDOM_SHARE:.0%} deleted", random.sort().values),
        Edit("largest subject deleted", (data.subjects == largest).nonzero()[:, 0]),
        Edit("half a class deleted", half.sort().values),
        Edit(f"features of {len(changed)} changed", changed, corrected),
    ]


def network(width: int) -> nn.Module:
    """A logistic regression in float64, all parameters zero."""
    model = nn.Sequential(nn.Linear(width, 1)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def problem_of(data: Data, edit: Edit | None, theta: Mapping[str, Tensor] | None) -> Problem:
    """An edit of a model with the parameters ``theta``, or zero; None edits nothing."""
    model = network(data.inputs.shape[1])
    if theta is not None:
        model.load_state_dict(dict(theta))
    gone = torch.zeros(0, dtype=torch.int64) if edit is None else edit.rows
    kept = torch.ones(len(data.labels), dtype=torch.bool)
    kept[gone] = False
    corrected = None if edit is None else edit.corrected
    kind: Kind = "deletion" if corrected is None else "feature_correction"
    return Problem(
        model=model,
        objective=OBJECTIVE,
        kind=kind,
        forget=TensorRows(data.inputs[gone], data.labels[gone]),
        replacement=empty() if corrected is None else TensorRows(corrected, data.labels[gone]),
        retained=TensorRows(data.inputs[kept], data.labels[kept]),
        retained_total=int(kept.sum()),
    )
