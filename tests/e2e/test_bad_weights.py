"""Weights that cannot be served: refused at the door or recorded as invalid, never kept."""

import json
import pickle
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from app.client import ApiProblem
from tests.e2e.controller import Controller
from tests.e2e.material import CLASSES, FEATURES, make_material, version_order
from tests.e2e.service import PATIENCE_SECONDS, Service
from tests.e2e.traces import Traces

MATERIAL = make_material("weights", seed=41)
SOUND = MATERIAL.weights()
SHAPES = {"0.weight": (16, FEATURES), "0.bias": (16,), "2.weight": (CLASSES, 16), "2.bias": (3,)}


def framed(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header and any claim of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(**changes: torch.Tensor | None) -> bytes:
    """The network's file with some tensors changed: ``t2_bias`` is ``2.bias``."""
    whole = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    changed = {f"{name[1]}.{name[3:]}": tensor for name, tensor in changes.items()}
    return save({n: t for n, t in (whole | changed).items() if t is not None})


def overlapping() -> bytes:
    """The network's file with two tensors in one place."""
    length = int.from_bytes(SOUND[:8], "little")
    header = json.loads(SOUND[8 : 8 + length])
    first, second = sorted(header, key=lambda name: header[name].get("data_offsets", [0])[0])[-2:]
    header[second] = header[first]
    return framed(header, SOUND[8 + length :])


AT_THE_DOOR = {
    "pickle": pickle.dumps({"0.weight": [1.0] * 100}),
    "old pickle": pickle.dumps({"0.weight": [1.0]}, protocol=0),
    "archive": b"PK\x03\x04" + bytes(1000),
    "zeros": bytes(48 << 20),
    "nothing": b"",
    "text": b"these are no weights",
}
RECORDED = {
    "header larger than the file": (framed({"a": 1}, length=10**6), "weights-header-length"),
    "header of 2 to the 63 bytes": (framed({"a": 1}, length=2**63), "weights-header-length"),
    "overlapping offsets": (overlapping(), "weights-offsets"),
    "cut": (SOUND[:-4], "weights-offsets"),
    "appended": (SOUND + b"more", "weights-offsets"),
    "header is no JSON": (framed(b"{not so}"), "weights-header"),
    "same name twice": (framed(b'{"a": 1, "a": 2}'), "weights-duplicate-name"),
    "no tensors": (framed({}), "weights-mismatch"),
    "wrong shape": (tensors(t0_weight=torch.zeros(16, 9)), "weights-mismatch"),
    "wrong dtype": (tensors(t0_bias=torch.zeros(16).half()), "weights-mismatch"),
    "missing tensor": (tensors(t2_bias=None), "weights-mismatch"),
    "extra tensor": (tensors(t9_bias=torch.zeros(1)), "weights-mismatch"),
    "NaN": (tensors(t2_bias=torch.tensor([0.0, torch.nan, 0.0])), "weights-not-finite"),
    "infinity": (tensors(t2_bias=torch.tensor([0.0, torch.inf, 0.0])), "weights-not-finite"),
    "overflow": (
        tensors(t0_bias=torch.full((16,), 3e38), t2_weight=torch.full((3, 16), 3e38)),
        "not-finite-outputs",
    ),
}


@pytest.fixture(scope="module")
def traces(service: Service) -> Iterator[Traces]:
    looking = Traces(service)
    yield looking
    looking.close()


@pytest.fixture(scope="module")
def dataset_id(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    with Controller(service) as controller:
        return controller.dataset_of(MATERIAL, tmp_path_factory.mktemp("material"))


def waiting_version(controller: Controller, dataset_id: str) -> tuple[str, str]:
    model_id = controller.create_model("m")["id"]
    return model_id, controller.create_version(model_id, version_order(dataset_id))["id"]


@pytest.mark.parametrize("case", AT_THE_DOOR)
def test_other_formats_are_stopped_at_the_door(
    controller: Controller, traces: Traces, dataset_id: str, case: str
) -> None:
    version = waiting_version(controller, dataset_id)
    before = traces.now()
    with pytest.raises(ApiProblem) as problem:
        controller.upload_weights(*version, AT_THE_DOOR[case])
    assert (problem.value.status, problem.value.code) == (415, "unsupported-format")
    traces.require_only(before)
    assert controller.version(*version)["state"] == "awaiting_weights"


@pytest.mark.parametrize("case", RECORDED)
def test_broken_files_make_the_version_invalid(
    controller: Controller, traces: Traces, dataset_id: str, folder: Path, case: str
) -> None:
    content, code = RECORDED[case]
    version = waiting_version(controller, dataset_id)
    before = traces.now()
    controller.upload_weights(*version, content)
    found = controller.wait_for_version(*version, PATIENCE_SECONDS)
    assert (found["state"], found["error"]["code"]) == ("invalid", code), found["error"]
    # Nothing but the record that weights came, were refused and are destroyed.
    traces.require_refusal(before)
    for attempt in (
        lambda: controller.download_weights(*version, folder / "none"),
        lambda: controller.upload_weights(*version, SOUND),
    ):
        with pytest.raises(ApiProblem) as problem:
            attempt()
        assert problem.value.status == 409


def test_network_that_does_not_fit_its_rows(
    controller: Controller, traces: Traces, dataset_id: str
) -> None:
    model_id = controller.create_model("bad")["id"]
    layers = [{"type": "linear", "in_features": FEATURES, "out_features": CLASSES - 1}]
    architecture = {"builder": "sequential", "config": {"layers": layers}}
    weights = save({
        "0.weight": torch.zeros(CLASSES - 1, FEATURES),
        "0.bias": torch.zeros(CLASSES - 1),
    })
    order = version_order(dataset_id, architecture=architecture, recipe=None)
    version = model_id, controller.create_version(model_id, order)["id"]
    before = traces.now()
    controller.upload_weights(*version, weights)
    found = controller.wait_for_version(*version, PATIENCE_SECONDS)
    assert (found["state"], found["error"]["code"]) == ("invalid", "unusable-labels")
    traces.require_refusal(before)


def test_network_whose_few_weights_make_more_numbers_than_memory_holds(
    controller: Controller, traces: Traces, dataset_id: str
) -> None:
    model_id = controller.create_model("wide")["id"]
    layers = [
        {"type": "unflatten", "dim": 1, "unflattened_size": [1, 1, FEATURES]},
        {"type": "adaptive_avg_pool2d", "output_size": [1024, 1024]},
        {"type": "conv2d", "in_channels": 1, "out_channels": 512, "kernel_size": 1, "bias": False},
        {"type": "adaptive_avg_pool2d", "output_size": [1, 1]},
        {"type": "flatten"},
        {"type": "linear", "in_features": 512, "out_features": CLASSES, "bias": False},
    ]
    architecture = {"builder": "sequential", "config": {"layers": layers}}
    weights = save({
        "2.weight": torch.zeros(512, 1, 1, 1),
        "5.weight": torch.zeros(CLASSES, 512),
    })
    order = version_order(dataset_id, architecture=architecture, recipe=None)
    version = model_id, controller.create_version(model_id, order)["id"]
    before = traces.now()
    controller.upload_weights(*version, weights)
    found = controller.wait_for_version(*version, PATIENCE_SECONDS)
    assert (found["state"], found["error"]["code"]) == ("invalid", "network-too-large")
    traces.require_refusal(before)


def test_after_a_refusal_the_right_file_is_still_welcome_and_only_once(
    service: Service, controller: Controller, traces: Traces, dataset_id: str
) -> None:
    version = waiting_version(controller, dataset_id)
    with pytest.raises(ApiProblem):
        controller.upload_weights(*version, AT_THE_DOOR["pickle"])
    before = traces.now()

    def upload(_: int) -> str:
        with Controller(service) as other:
            try:
                return str(other.upload_weights(*version, SOUND)["state"])
            except ApiProblem as problem:
                return problem.code

    with ThreadPoolExecutor(6) as pool:
        answers = sorted(pool.map(upload, range(6)))
    assert answers == ["validating", *["weights-already-uploaded"] * 5]
    found = controller.wait_for_version(*version, PATIENCE_SECONDS)
    assert found["state"] == "live"
    kept = [name for name in traces.now().files - before.files if "/weights/" in name]
    assert len(kept) == 1
