"""Run a job again from what was recorded with it, and compare; nothing is written anywhere.

On the class of machine and with the number of threads it ran with, the same inputs give the same
bits; elsewhere the last bits differ, and the results are compared with a tolerance. What is not
held any more makes a run impossible, and what is not as recorded is refused: either is said.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from app.domain.actions.recording import RunKeys
from app.domain.catalog import Version
from app.domain.jobs import Job
from app.domain.replays import InputChanged, NotReplayable, Recorded, recorded
from app.infra import db
from app.infra.code_digest import code_digest
from app.infra.rows import RowsError
from app.infra.settings import settings
from app.infra.storage import ObjectMissing, open_store
from app.unlearning import architectures
from app.unlearning.errors import UnlearningError
from app.unlearning.methods import make_method
from app.unlearning.problem import Problem, unreported
from workers.budget import charge_of, unlearn
from workers.comparing import Distance, distance
from workers.device import choose_device
from workers.environment import differences, environment
from workers.fingerprints import fingerprints, keys_by_name
from workers.loading import load, stored_curvature
from workers.recording import curvature_facts, object_digest
from workers.verifying import network_of
from workers.weights import digest_of

OF_TRAINING = ("replacement", "training")
"""The rows that training again reads."""
TITLES = {
    "forget": "the rows to be forgotten",
    "replacement": "the corrected rows",
    "retained": "the retained rows",
    "holdout": "the held-out rows",
    "training": "the rows it was trained on again",
    "untouched": "the rows it left alone",
}


class Outcome(IntEnum):
    """How a replay ended; the exit status of the command (2 is left to wrong usage)."""

    IDENTICAL = 0
    DIFFERENT = 1
    AGREES = 3
    CHANGED = 4
    IMPOSSIBLE = 5


@dataclass(frozen=True)
class Replay:
    """The answer.

    Attributes:
        outcome: The exit status.
        sentences: What was found, for a person; the last one says why it ended so.
    """

    outcome: Outcome
    sentences: tuple[str, ...]


def replay(job_id: str, threads: int | None = None) -> Replay:
    """Run a job again and compare what it published.

    Args:
        job_id: The job.
        threads: Torch threads; by default as many as the job had.

    Returns:
        How it ended.

    Raises:
        NotFound: There is no such job.
    """
    try:
        with db.reading() as tx:
            found = recorded(tx, job_id)
        return _compare(found, *_run(found, threads))
    except InputChanged as changed:
        return Replay(Outcome.CHANGED, (f"refused: {changed}",))
    except NotReplayable as impossible:
        return Replay(Outcome.IMPOSSIBLE, (f"cannot be replayed: {impossible}",))


def _run(found: Recorded, threads: int | None) -> tuple[nn.Module, list[str]]:
    """Return the network that the run arrives at, and what is other than it was then.

    Raises:
        InputChanged: An input is not the one recorded.
        NotReplayable: One is not held any more, or the method fails.
    """
    torch.set_num_threads(threads or found.document["environment"]["threads"])
    device = choose_device(settings())
    others = differences(found.document["environment"], environment(device))
    if code_digest() != found.document["code"]:
        others.append("code: another version of the program")
    job = found.job
    asked = Job(
        id=job.id,
        method=found.document["method"],
        parameters=dict(found.document["parameters"]),
        policy=found.document["policy"],
    )
    try:
        model = _stand_in(found, device)
        line, of = found.line, asked.parameters
        loaded = load(found.view, job.id, of, device, unreported, line.residual, model)
        problem = _same_rows(found, loaded.problem)
        if model is None:
            problem = replace(problem, curvature=_curvature(found, device))
            charge = charge_of(asked, line, len(found.view.request_ids), problem)
            update = unlearn(asked, problem, charge)
        else:
            update = make_method(found.document["ran"], {}).unlearn(problem)
        return network_of(problem, update)[0], others
    except ObjectMissing as error:
        raise NotReplayable("the weights or the curvature it started from are destroyed") from error
    except (RowsError, OSError) as error:
        raise NotReplayable("the row files it has read are gone or damaged") from error
    except UnlearningError as error:
        raise NotReplayable(f"its method fails now: {type(error).__name__}") from error


def _stand_in(found: Recorded, device: torch.device) -> nn.Module | None:
    """Check the weights it started from; where training needs none, return a fresh network.

    Raises:
        InputChanged: They are not those recorded.
        NotReplayable: They are needed, and destroyed.
    """
    version = found.version
    if version.weights_key is not None and found.passing is not None:
        if object_digest(version.weights_key) != found.document["weights"]:
            raise InputChanged("the weights it started from are not those recorded")
        return None
    if not found.trains:
        raise NotReplayable("the weights it started from are destroyed")
    seed = (version.recipe or {}).get("initialisation_seed", 0)
    return architectures.initialise(version.architecture, seed).to(device).eval()


def _same_rows(found: Recorded, problem: Problem) -> Problem:
    """Check that the rows are those recorded.

    Raises:
        InputChanged: Some are not.
    """
    said: Mapping[str, Any] = found.document["rows"]
    names = said if found.passing is not None else set(said) & set(OF_TRAINING)
    keys = keys_by_name(RunKeys(found.lasting, found.passing or b""))
    counted = [name for name in names if "hmac" not in said[name]]
    now = fingerprints(problem, names, keys, counted=counted)
    for name in sorted(names):
        if now[name] != said[name]:
            raise InputChanged(f"{TITLES[name]} are not those recorded")
    return problem


def _curvature(found: Recorded, device: torch.device) -> Any:
    """Return the stored diagonal, if the run had one.

    Raises:
        NotReplayable: It had one that is not held any more.
        InputChanged: It had another.
    """
    said = found.document["curvature"]
    if said is None:
        return None
    now = curvature_facts(found.version)
    if now is None or found.version.curvature is None:
        raise NotReplayable("the curvature it used is destroyed")
    if now != said or object_digest(found.version.curvature["key"]) != said["digest"]:
        raise InputChanged("the curvature is not the one recorded")
    return stored_curvature(found.version, device)


def _compare(found: Recorded, network: nn.Module, others: list[str]) -> Replay:
    again = digest_of(network.state_dict())
    published = found.result.digest
    ran = f"{found.document['ran']} ran again on the recorded inputs"
    if again == published:
        beside = f" although {'; '.join(others)}" if others else ""
        last = f"identical: every bit is as published ({published}){beside}"
        return Replay(Outcome.IDENTICAL, (ran, last))
    apart = _distance(found, network)
    if not others and found.document["environment"]["device"] == "cpu":
        where = "on the class of machine and with the threads it had"
        last = f"different: {where} the result has other bits; {apart or 'how far is not known'}"
        return Replay(Outcome.DIFFERENT, (ran, last))
    why = f"not comparable bit for bit: {'; '.join(others) or 'it ran on a GPU'}"
    if apart is None:
        last = "cannot be replayed: the published weights are destroyed, and bits alone could tell"
        return Replay(Outcome.IMPOSSIBLE, (ran, why, last))
    outcome = Outcome.AGREES if apart.agrees else Outcome.DIFFERENT
    word = "agrees within the tolerance" if apart.agrees else "different"
    return Replay(outcome, (ran, why, f"{word}: {apart}"))


def _distance(found: Recorded, network: nn.Module) -> Distance | None:
    """Compare tensors; None if the published ones are destroyed."""
    with ExitStack() as stack:
        published = _tensors(found.result, stack)
        if published is None:
            return None
        again = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        start = _tensors(found.version, stack)
        return distance(published, again, start if _fits(start, published) else None)


def _tensors(version: Version, stack: ExitStack) -> dict[str, Tensor] | None:
    if version.weights_key is None:
        return None
    try:
        copy = open_store(settings().store_url).local_copy(version.weights_key)
        file = stack.enter_context(safe_open(stack.enter_context(copy), framework="pt"))
    except ObjectMissing:
        return None
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _fits(start: Mapping[str, Tensor] | None, published: Mapping[str, Tensor]) -> bool:
    return start is not None and {n: t.shape for n, t in start.items()} == {
        n: t.shape for n, t in published.items()
    }
