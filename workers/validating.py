"""The validate job: do these weights belong to this architecture, and does the network run?

Before a version is live, its file is checked, its tensors are compared with the architecture, the
network is run on rows of its dataset and what it does there is recorded as the baseline.
"""

from typing import Any

import structlog
import torch

from app.domain import edits
from app.domain.actions import running, validating
from app.domain.catalog import Version
from app.domain.edits import Edits
from app.domain.failures import failure
from app.infra import db
from app.infra.finite_values import check_finite
from app.infra.rows import BadInputs, RowsError
from app.infra.settings import settings
from app.infra.storage import open_store
from app.infra.weights_file import NotFinite, WeightsFileError, read_header
from app.unlearning.errors import ArchitectureError, NonFinite, WeightsMismatch
from app.unlearning.objective import Objective
from app.unlearning.verification.evaluation import baseline
from workers.device import prepare_torch
from workers.inputs.errors import InputsError
from workers.lease import Lease
from workers.networks import open_network
from workers.reading import (
    MOST_ACTIVATIONS,
    NetworkTooLarge,
    Reader,
    RowNumbers,
    holdout_numbers,
    open_reader,
    retained_numbers,
    sample,
    seed_of,
)

log = structlog.get_logger(__name__)

BASELINE_ROWS = 20_000
"""Rows measured at most for each half of the baseline."""


class Refusal(Exception):
    """The version cannot be used; ``error`` is the document that says why."""

    def __init__(self, code: str, detail: str, **facts: object) -> None:
        super().__init__(code)
        self.error = failure(code, detail, **facts)


def run(lease: Lease) -> None:
    """Validate a version's weights and record the outcome."""
    with db.reading() as tx:
        job = running.require_fence(tx, lease.job_id, lease.fence)
        version = tx.get_one(Version, job.version_id)
        standing = edits.standing(tx, version)
    try:
        figures, parameters = examine(version, standing, lease)
    except Refusal as refusal:
        with lease.recording() as tx:
            validating.refuse_validation(tx, lease.job_id, lease.fence, refusal.error)
        log.info("version.refused", version_id=version.id, code=refusal.error["code"])
        return
    with lease.recording() as tx:
        validating.complete_validation(
            tx, lease.job_id, lease.fence, baseline=figures, parameters=parameters
        )
    log.info("version.validated", version_id=version.id)


def examine(version: Version, standing: Edits, lease: Lease) -> tuple[dict[str, Any], int]:
    """Return a version's baseline and its number of parameters.

    Raises:
        Refusal: The weights, the architecture or the inputs are at fault.
    """
    device = prepare_torch(settings())
    lease.report("loading", 0.0)
    try:
        _check_file(version)
        lease.report("loading", 0.5)
        model = open_network(version, device)
        reader = open_reader(settings().rows_folder, standing, version, device)
        lease.report("verifying", 0.0)
        figures = _baseline(reader, version, standing, model, lease)
    except NotFinite as error:
        raise Refusal(error.code, str(error), tensors=list(error.names)) from error
    except WeightsFileError as error:
        raise Refusal(error.code, str(error)) from error
    except WeightsMismatch as error:
        names = list(error.mismatches)
        raise Refusal("weights-mismatch", str(error), tensors=names, count=error.count) from error
    except ArchitectureError as error:
        raise Refusal("invalid-architecture", str(error), pointer=error.pointer) from error
    except BadInputs as error:
        raise Refusal("invalid-inputs", str(error), pointer=error.pointer) from error
    except InputsError as error:
        raise Refusal("unusable-labels", str(error)) from error
    except RowsError as error:
        raise Refusal("invalid-inputs", "the inputs do not fit the dataset") from error
    except NonFinite as error:
        raise Refusal("not-finite-outputs", "the loss on the rows is not finite") from error
    return figures, sum(p.numel() for p in model.parameters() if p.requires_grad)


def _check_file(version: Version) -> None:
    with open_store(settings().store_url).local_copy(str(version.weights_key)) as path:
        check_finite(path, read_header(path))


def _baseline(
    reader: Reader, version: Version, standing: Edits, model: torch.nn.Module, lease: Lease
) -> dict[str, Any]:
    """Measure the network on training and held-out rows, as they were trained on.

    Raises:
        Refusal: There are no training rows, or the network does not run on them.
    """
    seed = seed_of(version.id)
    halves: dict[str, RowNumbers] = {
        "training": sample(retained_numbers(reader.store, standing), BASELINE_ROWS, seed),
        "holdout": sample(holdout_numbers(reader.store, standing), BASELINE_ROWS, seed),
    }
    if not len(halves["training"]):
        raise Refusal("no-training-rows", "the training split holds no rows")
    objective = Objective(version.objective, version.weight_decay)  # type: ignore[arg-type]  # checked at registration
    figures: dict[str, Any] = {}
    for name, numbers in halves.items():
        if not len(numbers):
            continue
        try:
            rows = reader.rows(numbers, standing.trained)
            figures[name] = baseline(model, objective, rows)
        except NetworkTooLarge as error:
            raise Refusal(
                "network-too-large",
                f"the network makes more than {MOST_ACTIVATIONS:,} numbers of a single row",
            ) from error
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            # torch's message may quote a label that is out of range.
            raise Refusal(
                "network-does-not-run",
                "the network does not run on the rows: inputs, architecture, objective and "
                "labels do not fit each other",
            ) from error
        lease.report("verifying", 0.5)
    return figures
