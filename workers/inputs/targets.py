"""Labels as the targets of an objective."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.infra.rows import Overlay, RowStore, check_targets
from workers.inputs.errors import UnusableTargets


def read_targets(
    store: RowStore,
    rows: NDArray[np.int64],
    column: str,
    objective: str,
    overlay: Overlay | None = None,
    *,
    classes: int | None = None,
) -> Tensor:
    """Return the labels of some rows.

    Args:
        store: The rows' store.
        rows: Row numbers, ``(n,)``.
        column: The label column.
        objective: ``cross_entropy``, ``binary_cross_entropy`` or ``mean_squared_error``.
        overlay: Corrections that count instead of stored labels.
        classes: Classes that the network has an output for; None where not known.

    Returns:
        On the CPU: int64 ``(n,)`` for ``cross_entropy``, else float32 ``(n,)``, or
        ``(n, k)`` for labels that are lists of ``k`` numbers.

    Raises:
        BadInputs: The column does not exist or its type does not fit the objective.
        UnusableTargets: A label is null, no class of the network (``cross_entropy``), neither 0
            nor 1 (``binary_cross_entropy``) or not finite.
    """
    check_targets(objective, store.columns.get(column))
    values, valid = store.read(column, rows, overlay)
    labels = np.asarray(values)
    for wrong, reason in _faults(labels, valid, objective, classes):
        if count := int(np.count_nonzero(wrong)):
            raise UnusableTargets(reason, count)
    if objective == "cross_entropy":
        return torch.from_numpy(labels.astype(np.int64))
    return torch.from_numpy(labels.astype(np.float32))


def unusable_rows(
    store: RowStore,
    rows: NDArray[np.int64],
    column: str,
    objective: str,
    overlay: Overlay,
    *,
    classes: int | None = None,
) -> NDArray[np.int64]:
    """Return those of some rows whose label ``read_targets`` would refuse; arguments as there."""
    check_targets(objective, store.columns.get(column))
    values, valid = store.read(column, rows, overlay)
    wrong = np.zeros(len(rows), bool)
    for mask, _ in _faults(np.asarray(values), valid, objective, classes):
        wrong |= mask
    return rows[wrong]


def _faults(
    labels: NDArray[Any], valid: NDArray[np.bool_], objective: str, classes: int | None
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Yield what may be wrong with labels: which ones, ``(n,)``, and why."""
    yield ~valid, "there is no label"
    if objective == "cross_entropy":
        numbers = labels.astype(np.int64)
        yield numbers < 0, "a class cannot be negative"
        if classes is not None:
            # Looked for here: on a CUDA device such a class would end the process.
            yield numbers >= classes, "the network has no output for the class"
        return
    if objective == "binary_cross_entropy":
        yield (labels != 0) & (labels != 1), "a label must be 0 or 1"
    yield ~np.isfinite(labels).reshape(len(labels), -1).all(axis=1), "a label is not finite"
