"""The same problem in float64, whatever its network and its rows are kept in."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from app.unlearning.problem import Problem
from app.unlearning.rows import Batch, Rows


@dataclass(frozen=True)
class Float64Rows:
    """Rows whose floating-point inputs and weights are read in float64.

    Attributes:
        rows: The rows.
    """

    rows: Rows

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def batches(self, size: int) -> Iterator[Batch]:
        """Stream all rows in order, at most ``size`` at a time."""
        return (_double(batch) for batch in self.rows.batches(size))

    def take(self, positions: Tensor) -> Batch:
        """Return the rows at ``positions``."""
        return _double(self.rows.take(positions))


def in_float64(problem: Problem) -> Problem:
    """The same problem with a float64 copy of the network and rows read in float64."""
    return replace(
        problem,
        model=copy.deepcopy(problem.model).double(),
        forget=Float64Rows(problem.forget),
        replacement=Float64Rows(problem.replacement),
        retained=Float64Rows(problem.retained),
    )


def _double(batch: Batch) -> Batch:
    weights = None if batch.weights is None else batch.weights.double()
    floating = batch.inputs.is_floating_point()
    inputs = batch.inputs.double() if floating else batch.inputs
    return Batch(inputs, batch.targets, weights)
