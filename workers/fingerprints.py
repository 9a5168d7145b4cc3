"""Keyed digests of the rows that a method was given, and which of them it asked for."""

import hmac
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from app.domain.actions.recording import RunKeys
from app.domain.runs import PASSING
from app.unlearning.problem import Problem
from app.unlearning.rows import Rows

BATCH_ROWS = 1024
ON_DEMAND = ("training", "untouched")
"""Rows that are only opened when a method asks for them."""


def noted(problem: Problem) -> tuple[Problem, set[str]]:
    """Return the problem, and the names of rows opened on demand as it is worked on."""
    opened: set[str] = set()

    def noting(name: str, open_rows: Callable[[], Rows] | None) -> Callable[[], Rows] | None:
        if open_rows is None:
            return None

        def opening() -> Rows:
            opened.add(name)
            return open_rows()

        return opening

    seen = replace(
        problem,
        full_retained=noting("training", problem.full_retained),
        untouched=noting("untouched", problem.untouched),
    )
    return seen, opened


def fingerprints(
    problem: Problem, names: Iterable[str], keys: Mapping[str, bytes], *, counted: Container[str]
) -> dict[str, dict[str, int | str]]:
    """Return count and keyed digest of some rows of a problem.

    Args:
        problem: The problem.
        names: ``forget``, ``replacement``, ``retained``, ``holdout``, and of what is opened on
            demand ``training`` and ``untouched``.
        keys: The key for each of these names.
        counted: Names of rows that are only counted, because the method did not read them.

    Returns:
        ``{"count", "hmac"}`` by name; an empty or missing set has the count 0.
    """
    found = {}
    for name in names:
        rows = _rows(problem, name)
        found[name] = _counted(rows) if name in counted else _fingerprint(rows, keys[name])
    return found


def keys_by_name(keys: RunKeys) -> dict[str, bytes]:
    """Return which key each kind of rows is under."""
    names = ("forget", "replacement", "retained", "holdout", *ON_DEMAND)
    return {name: keys.passing if name in PASSING else keys.lasting for name in names}


def _rows(problem: Problem, name: str) -> Rows | None:
    if name in ON_DEMAND:
        opened = problem.full_retained if name == "training" else problem.untouched
        return None if opened is None else opened()
    rows: Rows | None = getattr(problem, name)
    return rows


def _counted(rows: Rows | None) -> dict[str, int | str]:
    return {"count": 0 if rows is None else len(rows)}


def _fingerprint(rows: Rows | None, key: bytes) -> dict[str, int | str]:
    mac = hmac.new(key, digestmod="sha256")
    for batch in rows.batches(BATCH_ROWS) if rows is not None and len(rows) else ():
        for tensor in (batch.inputs, batch.targets):
            mac.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            mac.update(_bytes(tensor))
    return {**_counted(rows), "hmac": mac.hexdigest()}


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
