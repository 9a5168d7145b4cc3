"""One unlearning problem: a trained network, the affected rows, and what else is at hand.

The training objective everywhere is the mean loss over the rows plus half of ``weight_decay`` times
the sum of squares of all parameters. The *edited data* are the retained rows plus the corrected
ones; a deletion has no corrected rows.
"""

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from app.unlearning.objective import Objective
from app.unlearning.recipe import Recipe
from app.unlearning.rows import Rows, WeightedRows, concatenate

Kind = Literal["deletion", "label_correction", "feature_correction", "mixed"]


@dataclass(frozen=True)
class StoredCurvature:
    """The diagonal curvature kept with a model version.

    Attributes:
        values: Parameter name to the diagonal of the curvature of the mean loss on the training
            rows, without weight decay.
        estimator: How it was estimated, as the curvature package names it.
        rows: Training rows it was computed on.
        seed: Seed of the random draws, if any.
    """

    values: Mapping[str, Tensor]
    estimator: str
    rows: int
    seed: int = 0


def unreported(fraction: float) -> None:
    """Ignore progress."""


@dataclass
class Problem:
    """What a method works on. Methods never modify ``model``.

    Attributes:
        model: The network in eval mode with its trained parameters.
        objective: What it was trained on.
        kind: What is asked.
        forget: The affected rows as they were trained on.
        replacement: The same rows corrected; empty for a deletion.
        retained: Retained rows at hand: all of them or a uniform sample.
        retained_total: Retained rows in all; each one at hand stands for
            ``retained_total / len(retained)`` of them.
        generator_seed: Seed of whatever a method draws.
        holdout: Rows never trained on.
        recipe: How the network was trained.
        full_retained: Opens every retained row.
        build: Makes a fresh, untrained network of the same architecture.
        curvature: The diagonal kept with the version.
        untouched: Opens every row the network was trained on that the request leaves alone, as it
            was trained on; together with ``forget`` they are exactly its training rows. None where
            that is not known. ``full_retained`` may lack rows that other requests delete.
        spent: Norm of the gradient that training and earlier certified updates may have left of the
            summed objective; None where that is not known.
        random_bytes: Where noise that must not be guessed comes from.
        progress: Told the fraction done, in [0, 1]; raising from it aborts the method.
    """

    model: nn.Module
    objective: Objective
    kind: Kind
    forget: Rows
    replacement: Rows
    retained: Rows
    retained_total: int
    generator_seed: int = 0
    holdout: Rows | None = None
    recipe: Recipe | None = None
    full_retained: Callable[[], Rows] | None = None
    build: Callable[[], nn.Module] | None = None
    curvature: StoredCurvature | None = None
    untouched: Callable[[], Rows] | None = None
    spent: float | None = None
    random_bytes: Callable[[int], bytes] = field(default=os.urandom, repr=False)
    progress: Callable[[float], None] = field(default=unreported, repr=False)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The trainable parameters by name, detached, sharing memory with the network."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}

    @property
    def parameter_count(self) -> int:
        """The number of trainable scalars."""
        return sum(p.numel() for p in self.parameters.values())

    @property
    def retained_weight(self) -> float:
        """How many retained rows each one at hand stands for."""
        return self.retained_total / len(self.retained) if len(self.retained) else 0.0

    @property
    def edited_total(self) -> int:
        """The number of rows of the edited data."""
        return self.retained_total + len(self.replacement)

    @property
    def original_total(self) -> int:
        """The number of rows the network was trained on."""
        return self.retained_total + len(self.forget)

    @property
    def rows_at_hand(self) -> int:
        """Distinct rows behind ``forget``, ``replacement`` and ``retained``.

        A corrected row and its old form are one row.
        """
        return max(len(self.forget), len(self.replacement)) + len(self.retained)

    @property
    def deletes(self) -> bool:
        """Whether affected rows are deleted, all of them or those that do not come back corrected.

        A correction replaces its rows one by one.
        """
        return len(self.replacement) < len(self.forget)

    @property
    def edited(self) -> Rows:
        """The edited data, weighted so that sums over a sample of it are unbiased."""
        return concatenate(self.weighted_retained, self.replacement)

    @property
    def original(self) -> Rows:
        """The rows the network was trained on, weighted like :attr:`edited`."""
        return concatenate(self.weighted_retained, self.forget)

    @property
    def weighted_retained(self) -> Rows:
        """The retained rows at hand, each for as many as it stands for."""
        weight = self.retained_weight
        return self.retained if weight == 1.0 else WeightedRows(self.retained, weight)

    @property
    def nothing_changes(self) -> bool:
        """Whether the corrected rows are the affected rows as they were, one by one."""
        if len(self.forget) != len(self.replacement):
            return False
        pairs = zip(self.forget.batches(1024), self.replacement.batches(1024), strict=False)
        return all(
            torch.equal(old.inputs, new.inputs) and torch.equal(old.targets, new.targets)
            for old, new in pairs
        )

    def at(self, values: Mapping[str, Tensor]) -> "Problem":
        """The same problem with a copy of the network in which some parameters have new values."""
        model = copy.deepcopy(self.model)
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)
        return replace(self, model=model)

    def with_all_retained(self) -> "Problem":
        """The same problem on every retained row, if they can be opened."""
        if self.full_retained is None or len(self.retained) == self.retained_total:
            return self
        return replace(self, retained=self.full_retained())
