"""After a fulfilled deletion nothing of what was erased can be found in the data folder."""

import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.client.connection import Document
from tests.e2e.controller import Controller
from tests.e2e.material import Material, make_material, version_order
from tests.e2e.service import Service, eventually

LENIENT: dict[str, Any] = {"gates": {}, "method": "sparse_newton"}


def traces(home: Path, needles: dict[str, bytes]) -> list[tuple[str, str]]:
    """Search every file; return which needle lies in which file."""
    found = []
    for path in home.rglob("*"):
        if not path.is_file() or path.stat().st_size == 0:
            continue
        # Read, not mapped: the write-ahead log may be cut short at any moment.
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            found += [(n, str(path)) for n, needle in needles.items() if needle in content]
    return found


def needles_of(material: Material, rows: list[int]) -> dict[str, bytes]:
    """What would betray the rows: ids, subjects, features, also in base64 as messages are."""
    needles = {}
    for row in rows:
        name = material.ids[row].encode()
        needles[f"id {row}"] = name
        # Whatever is before it, one of three alignments of the middle of the id is in base64.
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + name)
            needles[f"id {row} in base64, {shift}"] = encoded[4:-4]
        needles[f"features {row}"] = material.features[row].tobytes()
    return needles


def test_erased_rows_leave_no_trace(service: Service, controller: Controller, folder: Path) -> None:
    material = make_material("vanish", seed=21)
    ours = controller.register(material, folder, LENIENT)
    rows = [0, 5, 17, 130]
    needles = needles_of(material, rows)
    held = {name for name, _ in traces(service.home, needles)}
    assert {f"id {row}" for row in rows} | {f"features {row}" for row in rows} <= held
    request = controller.finished(
        controller.submit_deletion(
            ours.dataset_id,
            sample_ids=[material.ids[row] for row in rows],
            idempotency_key="once",
            reference="case-1",
        )["id"]
    )
    assert request["state"] == "fulfilled"
    # The log is emptied just after the request is done.
    eventually(lambda: not traces(service.home, needles), 15, "no trace")
    kept = needles_of(material, [1])
    assert ("id 1" in {name for name, _ in traces(service.home, kept)}) is True


def test_corrected_values_leave_no_trace(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("rewrite", seed=22)
    ours = controller.register(material, folder, LENIENT)
    old = {"features": material.features[3].tobytes()}
    assert traces(service.home, old)
    controller.finished(
        controller.submit_correction(
            ours.dataset_id,
            corrections=[{"sample_id": material.ids[3], "features": {"features": [1.0] * 8}}],
        )["id"]
    )
    eventually(lambda: not traces(service.home, old), 15, "no trace")


def test_rows_stay_until_every_model_is_done(
    service: Service, controller: Controller, folder: Path
) -> None:
    material = make_material("stuck", seed=23)
    ours = controller.register(material, folder, LENIENT)
    impossible = {"method": "sparse_newton", "gates": {"corrected_accuracy": 1.0}}
    stuck_model = controller.create_model("stuck", impossible | {"on_gate_failure": ["attention"]})
    stuck = controller.version_of(
        stuck_model["id"], material.weights(), version_order(ours.dataset_id)
    )
    request_id = controller.submit_deletion(ours.dataset_id, sample_ids=material.ids[:2])["id"]

    def settled() -> Document | None:
        found = controller.request(request_id)
        states = sorted(target["state"] for target in found["targets"])
        return found if states == ["failed", "fulfilled"] else None

    eventually(settled, what="one model done, one stuck")
    assert controller.request(request_id)["state"] == "needs_attention"
    assert controller.live_version(ours.model_id)["id"] != ours.version_id
    assert controller.revision(ours.dataset_id, 1)["erased_rows"] == 0
    needles = needles_of(material, [0, 1])
    assert {"id 0", "id 1"} <= {name for name, _ in traces(service.home, needles)}

    controller.put_policy(stuck_model["id"], LENIENT)
    controller.retry_request(request_id)
    assert controller.finished(request_id)["state"] == "fulfilled"
    assert controller.revision(ours.dataset_id, 1)["erased_rows"] == 2
    assert controller.is_withdrawn(stuck_model["id"], stuck["id"], folder)
    eventually(lambda: not traces(service.home, needles), 15, "no trace")
