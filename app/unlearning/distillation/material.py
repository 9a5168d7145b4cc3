"""The rows of a problem as the head sees them: features of the body, computed once."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.unlearning.batch_norm import recompute_statistics
from app.unlearning.distillation.answers import class_labels, log_probabilities
from app.unlearning.distillation.head_split import HeadSplit, split_head
from app.unlearning.errors import NotApplicable
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import Batch, Rows, TensorRows
from app.unlearning.truncation import FEATURE_BYTES_LIMIT, FeatureRows, feature_bytes

FEWEST_HELD_OUT = 20
"""Held-out rows without which nothing can be calibrated or judged."""
FEWEST_RETAINED = 50
"""Retained rows without which no reference can be fitted."""
_BATCH = 64
_FULL_BATCH = 1 << 30


@dataclass(frozen=True)
class Seen:
    """Rows as the head sees them.

    Attributes:
        rows: Features and targets, in memory.
        labels: (n,) classes.
        answers: (n, C) log-probabilities of the network as it was.
    """

    rows: TensorRows
    labels: Tensor
    answers: Tensor

    @property
    def features(self) -> Tensor:
        """(n, ...) inputs of the head."""
        return self.rows.inputs

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)


@dataclass(frozen=True)
class Material:
    """What a deletion works on.

    Attributes:
        split: The network in two parts, in eval mode, batch statistics those of retained rows.
        buffers: The statistics computed anew, by the network's own names.
        retained: Retained rows, a sample where all would not fit into memory.
        forget: The deleted rows.
        holdout: Rows never trained on.
    """

    split: HeadSplit
    buffers: dict[str, Tensor]
    retained: Seen
    forget: Seen
    holdout: Seen


def gather(problem: Problem, layers: int | None) -> Material:
    """Check what is at hand and run the body over it once.

    Running statistics of batch norm are computed anew from retained rows first: they remember the
    deleted rows, and whoever publishes the result does the same.

    Args:
        problem: The problem.
        layers: See :func:`split_head`.

    Returns:
        The material.

    Raises:
        NotApplicable: There are too few retained or held-out rows, or no head can be told.
    """
    held_out = problem.holdout
    if held_out is None or len(held_out) < FEWEST_HELD_OUT:
        raise NotApplicable(
            f"at least {FEWEST_HELD_OUT} held-out rows are needed to calibrate and to judge; "
            f"{0 if held_out is None else len(held_out)} are at hand"
        )
    if len(problem.retained) < FEWEST_RETAINED:
        raise NotApplicable(
            f"at least {FEWEST_RETAINED} retained rows are needed to fit a reference; "
            f"{len(problem.retained)} are at hand"
        )
    buffers = recompute_statistics(problem.model, problem.retained, seed=problem.generator_seed)
    model = copy.deepcopy(problem.model) if buffers else problem.model
    own = dict(model.named_buffers())
    for name, value in buffers.items():
        own[name].copy_(value)
    split = split_head(model, layers)
    see = _Seer(split, problem.objective, problem.generator_seed)
    return Material(split, buffers, see(problem.retained), see(problem.forget), see(held_out))


@dataclass(frozen=True)
class _Seer:
    split: HeadSplit
    objective: Objective
    seed: int

    def __call__(self, rows: Rows) -> Seen:
        """Compute features, on a uniform sample of the rows where all would not fit."""
        width = max(1, feature_bytes(self.split.body, [rows]))
        most = max(FEWEST_RETAINED, FEATURE_BYTES_LIMIT // width)
        if len(rows) > most:
            generator = torch.Generator().manual_seed(self.seed)
            batch = rows.take(torch.randperm(len(rows), generator=generator)[:most].sort().values)
            rows = TensorRows(batch.inputs, batch.targets, batch.weights)
        features = joined(FeatureRows(self.split.body, rows, _BATCH))
        answers = answers_of(self.split.head, self.objective, features.inputs)
        return Seen(features, class_labels(features.targets), answers)


def joined(rows: Rows) -> TensorRows:
    """All rows in one tensor; not copied where they are already."""
    parts: list[Batch] = list(rows.batches(_FULL_BATCH))
    if len(parts) == 1:
        return TensorRows(parts[0].inputs, parts[0].targets, parts[0].weights)
    weights = None
    if any(part.weights is not None for part in parts):
        weights = torch.cat([
            part.inputs.new_ones(len(part)) if part.weights is None else part.weights
            for part in parts
        ])
    return TensorRows(
        torch.cat([part.inputs for part in parts]),
        torch.cat([part.targets for part in parts]),
        weights,
    )


def answers_of(head: nn.Module, objective: Objective, features: Tensor) -> Tensor:
    """(n, C) log-probabilities of a head in eval mode, without gradients."""
    with torch.no_grad():
        return torch.cat([
            log_probabilities(objective, head(part)) for part in features.split(1024)
        ])
