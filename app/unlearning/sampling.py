"""Uniform samples of rows that stand for all of them."""

import torch

from app.unlearning.rows import Rows, TensorRows, WeightedRows

# Rows on which the points along a method's way are compared.
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
