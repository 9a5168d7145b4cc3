"""Samples of rows that stand for all of them."""

import torch

from app.unlearning.problem import Problem
from app.unlearning.rows import Rows, TensorRows, WeightedRows, concatenate

# Rows of each kind on which the points along a method's way are compared.
EVALUATION_ROWS = 2048


def uniform_sample(rows: Rows, count: int, generator: torch.Generator) -> Rows:
    """Draw rows without replacement, weighted so that sums over them are unbiased.

    Args:
        rows: The rows.
        count: How many to draw; all of them are returned as they are if there are no more.
        generator: A generator on the CPU.

    Returns:
        The sample in memory, in the order of ``rows``.
    """
    if len(rows) <= count:
        return rows
    positions = torch.randperm(len(rows), generator=generator)[:count].sort().values
    batch = rows.take(positions)
    drawn = TensorRows(batch.inputs, batch.targets, batch.weights)
    return WeightedRows(drawn, len(rows) / count)


def judging_rows(problem: Problem, generator: torch.Generator) -> Rows:
    """Draw rows on which points along a method's way are compared.

    Retained and corrected rows are drawn apart: of a few corrected ones among many retained, a
    sample of both together would hold none.

    Args:
        problem: The problem.
        generator: A generator on the CPU.

    Returns:
        At most :data:`EVALUATION_ROWS` of each, weighted so that sums over them are unbiased for
        the edited data.
    """
    retained, corrected = (
        uniform_sample(rows, EVALUATION_ROWS, generator)
        for rows in (problem.weighted_retained, problem.replacement)
    )
    return concatenate(retained, corrected)
