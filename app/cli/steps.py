"""What a controller does with the service, step by step, with a bar while it takes long."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.progress import Progress

from app.cli.errors import NotAccepted, NotFulfilled
from app.client import Lethe
from app.client.connection import Document

PATIENCE_SECONDS = 3600.0
PAUSE_SECONDS = 0.25
STUCK = "needs_attention"


def register_dataset(
    client: Lethe, name: str, columns: Mapping[str, str | None], file: Path, progress: Progress
) -> str:
    """Register a data set, upload its rows and wait for their import.

    Returns:
        Its id.

    Raises:
        NotAccepted: The rows cannot be used.
    """
    dataset_id: str = client.create_dataset(name, **columns)["id"]  # type: ignore[arg-type]  # names of its roles
    bar = progress.add_task(f"uploading {name}")
    client.upload_content(
        dataset_id,
        file,
        progress=lambda done, total: progress.update(bar, completed=done, total=total),
    )
    progress.update(bar, description=f"importing {name}", total=None)
    dataset = client.wait_for_dataset(dataset_id, PATIENCE_SECONDS)
    progress.remove_task(bar)
    if dataset["state"] != "ready":
        newest = max(client.revisions(dataset_id), key=lambda found: int(found["revision"]))
        raise NotAccepted("the data set", newest)
    return dataset_id


def register_version(
    client: Lethe,
    model_id: str,
    order: Mapping[str, Any],
    weights: bytes,
    progress: Progress,
) -> Document:
    """Register a version, upload its weights and wait until it is live and prepared.

    Returns:
        The version.

    Raises:
        NotAccepted: The weights or what was said about them cannot be used.
    """
    bar = progress.add_task("validating the weights", total=None)
    version_id = client.create_version(model_id, order)["id"]
    client.upload_weights(model_id, version_id, weights)
    version = client.wait_for_version(model_id, version_id, PATIENCE_SECONDS)
    if version["state"] != "live":
        raise NotAccepted("the version", version)
    progress.update(bar, description="preparing curvature")
    wait_for_curvature(client, version_id)
    progress.remove_task(bar)
    return version


def wait_for_curvature(client: Lethe, version_id: str) -> None:
    """Wait until the worker has nothing left to prepare for a live version."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any(_ends_preparation(entry) for entry in client.audit_entries(version_id=version_id)):
            return
        time.sleep(PAUSE_SECONDS)


def _ends_preparation(entry: Document) -> bool:
    is_curvature = entry["facts"].get("job_kind") == "curvature"
    return is_curvature and entry["to"] in ("succeeded", "failed", "cancelled")


def fulfil(client: Lethe, request: Document, title: str, progress: Progress) -> Document:
    """Wait until a request is done, showing what its jobs do.

    Returns:
        The request.

    Raises:
        NotFulfilled: It ended otherwise, or needs a person.
    """
    bar = progress.add_task(title, total=None)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not request["done"] and request["state"] != STUCK and time.monotonic() < deadline:
        running = [t["job_id"] for t in request["targets"] if t["state"] == "running"]
        if running:
            job = client.job(running[0])
            phase, fraction = job["progress"]["phase"], job["progress"]["fraction"]
            label = f"{title}: {job['method']}, {phase}"
            progress.update(bar, description=label, completed=fraction, total=1.0)
        else:
            progress.update(bar, description=f"{title}: {request['state']}", total=None)
        time.sleep(PAUSE_SECONDS)
        request = client.request(request["id"])
    progress.remove_task(bar)
    if request["state"] != "fulfilled":
        jobs = [client.job(job_id) for t in request["targets"] for job_id in t["job_ids"]]
        raise NotFulfilled(request, [job["error"] for job in jobs])
    return request


def jobs_of(client: Lethe, request: Document, version_id: str) -> list[Document]:
    """Return the jobs a request took for one version, in the order they were tried."""
    target = next(t for t in request["targets"] if t["version_id"] == version_id)
    return [client.job(job_id) for job_id in target["job_ids"]]


def seconds_of(jobs: list[Document]) -> float:
    """Return what jobs cost together, those included whose result was not published.

    A job without a report ended before anything was measured: all of its time counts.
    """
    return sum((_seconds(job) for job in jobs), 0.0)


def _seconds(job: Document) -> float:
    if job["report"] is not None:
        return float(job["report"]["cost"]["seconds"])
    started, finished = (
        datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at")
    )
    return (finished - started).total_seconds()


def measured(report: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return one measurement of a report by its name."""
    return next((m for m in report["measurements"] if m["name"] == name), None)
