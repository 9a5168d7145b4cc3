"""The curvature job: keep the curvature diagonal of a version that went live.

A later request then costs its own rows and a sample of retained ones, not a pass over the training
set. The diagonal is accumulated in a memory-mapped file, and of a large network a few parameters at
a time, so it needs no second copy of the network in memory.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from app.domain import edits
from app.domain.actions import running, validating
from app.domain.catalog import Version
from app.domain.errors import FenceLost
from app.infra import db
from app.infra.settings import settings
from app.infra.storage import open_store
from app.unlearning.curvature import (
    Diagonal,
    choose_estimator,
    ggn_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch, Rows
from workers.device import prepare_torch
from workers.lease import Lease
from workers.networks import open_network
from workers.reading import in_memory, open_reader, retained_numbers, sample, seed_of
from workers.staging import staging
from workers.weights import save_weights

log = structlog.get_logger(__name__)

MOST_ROWS = 65_536
"""Training rows read at most, drawn uniformly; the spread of a mean over them is below 1 %."""
FEWEST_ROWS = 256
PARAMETER_ROWS = 4e10
"""Rows times parameters that the job may cost: some minutes on one core."""
BATCH_ROWS = 128
GROUP_PARAMETERS = 8_000_000
"""Parameters differentiated at a time; their scratch is a few times 4 bytes each."""


class _Watched:
    """Batches of rows that report how far they have been read."""

    def __init__(self, rows: Rows, lease: Lease, number: int, passes: int) -> None:
        self._rows = rows
        self._lease = lease
        self._number = number
        self._passes = passes

    def __iter__(self) -> Iterator[Batch]:
        done = 0
        for batch in self._rows.batches(BATCH_ROWS):
            share = (self._number + done / len(self._rows)) / self._passes
            self._lease.report("curvature", share)
            yield batch
            done += len(batch)


def run(lease: Lease) -> None:
    """Compute and store the diagonal of a version."""
    device = prepare_torch(settings())
    with db.reading() as tx:
        job = running.require_fence(tx, lease.job_id, lease.fence)
        version = tx.get_one(Version, job.version_id)
        standing = edits.standing(tx, version)
    lease.report("loading", 0.0)
    model = open_network(version, device)
    reader = open_reader(settings().rows_folder, standing, version, device)
    numbers = retained_numbers(reader.store, standing)
    drawn = sample(numbers, affordable_rows(model), seed_of(version.id))
    rows = in_memory(reader.rows(drawn, standing.trained))
    objective = Objective(version.objective, version.weight_decay)  # type: ignore[arg-type]  # checked at registration
    with staging(lease) as folder:
        diagonal = compute(model, objective, rows, folder, lease, seed_of(version.id))
        lease.report("storing", 0.0)
        _store(lease, version, diagonal, folder)


def compute(
    model: nn.Module, objective: Objective, rows: Rows, folder: Path, lease: Lease, seed: int
) -> Diagonal:
    """Compute the diagonal on all of ``rows``, accumulated in a file in ``folder``.

    A network of several groups of parameters is passed once for each group, by random signs; a
    small one once, exactly where that is cheap.
    """
    out = mapped_like(model, folder / "accumulators")
    groups = parameter_groups(model)
    is_exact = len(groups) == 1 and choose_estimator(model, objective) == "ggn"
    parts = []
    for number, names in enumerate(groups):
        batches = _Watched(rows, lease, number, len(groups))
        own = None if out is None else {name: out[name] for name in names}
        with only_differentiating(model, names):
            if is_exact:
                parts.append(ggn_diagonal(model, objective, batches, out=own))
            else:
                parts.append(sketched_ggn_diagonal(model, objective, batches, seed=seed, out=own))
    values = {name: tensor for part in parts for name, tensor in part.values.items()}
    fallbacks = tuple(fallback for part in parts for fallback in part.fallbacks)
    return replace(parts[0], values=values, fallbacks=fallbacks)


def parameter_groups(model: nn.Module, most: int = GROUP_PARAMETERS) -> list[tuple[str, ...]]:
    """Cut the trainable parameters into runs of at most ``most`` scalars, or of one tensor."""
    groups: list[list[str]] = [[]]
    room = most
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if groups[-1] and parameter.numel() > room:
            groups.append([])
            room = most
        groups[-1].append(name)
        room -= parameter.numel()
    return [tuple(group) for group in groups]


def affordable_rows(model: nn.Module) -> int:
    """Return how many training rows the job reads at most for this network."""
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    passes = len(parameter_groups(model))
    return min(MOST_ROWS, max(FEWEST_ROWS, int(PARAMETER_ROWS / max(1, size * passes))))


@contextmanager
def only_differentiating(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Freeze all parameters but some inside the block."""
    frozen = [p for n, p in model.named_parameters() if p.requires_grad and n not in names]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_()


def mapped_like(model: nn.Module, path: Path) -> Mapping[str, Tensor] | None:
    """Make zeros of the shapes of a network's parameters in a memory-mapped file.

    Returns:
        Float32 tensors by parameter name; None for a network on a device, whose accumulators
        belong there too.
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if any(p.device.type != "cpu" or p.dtype != torch.float32 for p in parameters.values()):
        return None
    total = sum(p.numel() for p in parameters.values())
    flat = torch.from_numpy(np.memmap(path, np.float32, "w+", shape=(max(1, total),)))
    pieces = flat[:total].split([p.numel() for p in parameters.values()])
    return {
        name: piece.view(p.shape)
        for (name, p), piece in zip(parameters.items(), pieces, strict=True)
    }


def _store(lease: Lease, version: Version, diagonal: Diagonal, folder: Path) -> None:
    """Store the diagonal and record it; a version that no longer serves needs none.

    Raises:
        FenceLost: Another worker has the job.
    """
    path = folder / "curvature.safetensors"
    save_weights(dict(diagonal.values), path)
    store = open_store(settings().store_url)
    key = f"curvature/{version.tenant_id}/{version.id}/{lease.fence}.safetensors"
    stored = store.put_file(key, path)
    record = {
        "key": key,
        "digest": stored.digest,
        "estimator": diagonal.estimator,
        "rows": diagonal.rows,
        "draws": diagonal.draws,
        "seed": diagonal.seed,
        "fallbacks": list(diagonal.fallbacks),
        "parameters": sum(math.prod(tensor.shape) for tensor in diagonal.values.values()),
    }
    try:
        with lease.recording() as tx:
            is_kept = validating.complete_curvature(tx, lease.job_id, lease.fence, record)
    except FenceLost:
        store.delete(key)
        raise
    if not is_kept:
        store.delete(key)
    log.info("curvature.stored", version_id=version.id, kept=is_kept)
