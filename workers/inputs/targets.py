"""Labels as the targets of an objective."""

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
) -> Tensor:
    """Return the labels of some rows.

    Args:
        store: The rows' store.
        rows: Row numbers, ``(n,)``.
        column: The label column.
        objective: ``cross_entropy``, ``binary_cross_entropy`` or ``mean_squared_error``.
        overlay: Corrections that count instead of stored labels.

    Returns:
        On the CPU: int64 ``(n,)`` for ``cross_entropy``, else float32 ``(n,)``, or
        ``(n, k)`` for labels that are lists of ``k`` numbers.

    Raises:
        BadInputs: The column does not exist or its type does not fit the objective.
        UnusableTargets: A label is null, negative (``cross_entropy``), neither 0 nor 1
            (``binary_cross_entropy``) or not finite.
    """
    check_targets(objective, store.columns.get(column))
    values, valid = store.read(column, rows, overlay)
    labels = np.asarray(values)
    _refuse(~valid, "there is no label")
    if objective == "cross_entropy":
        _refuse(labels.astype(np.int64) < 0, "a class cannot be negative")
        return torch.from_numpy(labels.astype(np.int64))
    if objective == "binary_cross_entropy":
        _refuse((labels != 0) & (labels != 1), "a label must be 0 or 1")
    _refuse(~np.isfinite(labels).reshape(len(labels), -1).all(axis=1), "a label is not finite")
    return torch.from_numpy(labels.astype(np.float32))


def _refuse(wrong: NDArray[np.bool_], reason: str) -> None:
    """Refuse a batch with wrong labels.

    Raises:
        UnusableTargets: Some are wrong.
    """
    count = int(np.count_nonzero(wrong))
    if count:
        raise UnusableTargets(reason, count)
