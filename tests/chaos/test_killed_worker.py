"""A worker is killed with SIGKILL wherever it hurts; the broker loses everything it has."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import redis

from app.client.connection import Document
from tests.e2e.conftest import controller, folder, service
from tests.e2e.controller import Controller, require_one_entry_per_change
from tests.e2e.material import make_material
from tests.e2e.service import Service, eventually
from workers.faults import POINTS

__all__ = ["controller", "folder", "service"]  # fixtures, found by their names

LENIENT: dict[str, Any] = {"gates": {}, "method": "sparse_newton"}


def curvature_is_stored(service: Service, version_id: str) -> bool:
    return any((service.home / "store").glob(f"curvature/*/{version_id}/*"))


def published(controller: Controller, model_id: str) -> list[Document]:
    return [v for v in controller.versions(model_id) if v["parent_id"] is not None]


def test_job_survives_a_kill_at_every_point(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("killed", seed=31)
    ours = controller.register(material, folder, LENIENT)
    # Otherwise the first kill would meet the job that prepares the curvature.
    eventually(lambda: curvature_is_stored(service, ours.version_id))
    for point in POINTS:
        service.hold(point)
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:4])["id"]
    for point in POINTS:
        eventually(service.paused_at(point).exists, what=point)
        service.restart("worker")
    request = controller.finished(request_id)

    assert request["state"] == "fulfilled"
    (new,) = published(controller, ours.model_id)
    assert new["state"] == "live"
    assert controller.download_weights(ours.model_id, new["id"], folder / "w") == new["digest"]
    assert controller.is_withdrawn(ours.model_id, ours.version_id, folder)
    job = controller.job(request["targets"][0]["job_id"])
    # Killed after the claim, in the update and after storing; the fourth attempt published.
    assert (job["state"], job["attempts"]) == ("succeeded", 4)
    entries = list(controller.audit_entries())
    require_one_entry_per_change(entries)
    of_versions = [e for e in entries if e["entity"] == {"kind": "version", "id": new["id"]}]
    assert [e["to"] for e in of_versions] == ["candidate", "live"]
    # What the killed attempts had stored is gone with the rest.
    kept = list((service.home / "store" / "weights").rglob("*.safetensors"))
    assert len([path for path in kept if job["id"] in str(path)]) == 1


def test_a_worker_that_slept_through_its_lease_publishes_nothing(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("zombie", seed=35)
    ours = controller.register(material, folder, LENIENT)
    service.hold("after-store")
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:4])["id"]
    eventually(service.paused_at("after-store").exists)
    sleeping = service.family("worker")
    for process in sleeping:
        process.suspend()
    service.start("second")
    request = controller.finished(request_id)
    service.release("after-store")
    for process in sleeping:
        process.resume()
    eventually(lambda: "job.lost" in service.log("worker"))
    service.kill("second")

    (new,) = published(controller, ours.model_id)
    job_id = request["targets"][0]["job_id"]
    assert controller.job(job_id)["attempts"] == 2
    objects = [path for path in (service.home / "store").rglob("*") if job_id in str(path)]
    assert [path.name for path in objects if path.is_file()] == ["2.safetensors"]
    assert controller.download_weights(ours.model_id, new["id"], folder / "w") == new["digest"]
    require_one_entry_per_change(controller.audit_entries())


def test_nothing_is_lost_when_the_broker_loses_everything(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("bells", seed=32)
    ours = controller.register(material, folder, LENIENT)
    eventually(lambda: curvature_is_stored(service, ours.version_id))
    service.kill("worker")
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:4])["id"]
    broker = service.config.broker_url
    if broker.startswith("redis"):
        with redis.Redis.from_url(broker) as client:
            eventually(lambda: client.llen("lethe"))
            client.flushall()
    else:
        folder_of_messages = service.config.broker_folder
        eventually(lambda: any(folder_of_messages.iterdir()))
        shutil.rmtree(folder_of_messages)
    service.start("worker")
    assert controller.finished(request_id)["state"] == "fulfilled"
    assert len(published(controller, ours.model_id)) == 1


def test_broker_emptied_under_a_listening_worker(
    service: Service, controller: Controller, folder: Path
) -> None:
    broker = service.config.broker_url
    if broker.startswith("redis"):
        with redis.Redis.from_url(broker) as client:
            client.flushall()
    else:
        shutil.rmtree(service.config.broker_folder)
    ours = controller.register(make_material("listening", seed=33), folder, LENIENT)
    assert controller.version(ours.model_id, ours.version_id)["state"] == "live"


@pytest.mark.parametrize("name", ["sweeper", "api"])
def test_other_processes_can_be_killed_too(
    service: Service, controller: Controller, folder: Path, name: str
) -> None:
    material = make_material(f"other{name}", seed=34)
    ours = controller.register(material, folder, LENIENT)
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]
    service.restart(name)
    eventually(service.is_ready)
    assert controller.finished(request_id)["state"] == "fulfilled"
