"""Weights that cannot be used are refused by name, and nothing of them is left."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from app.client import ApiProblem
from tests.e2e.controller import Controller
from tests.e2e.material import CLASSES, FEATURES, make_material, version_order
from tests.e2e.service import Service, eventually

MATERIAL = make_material("bad", seed=41)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def tensors() -> dict[str, torch.Tensor]:
    shapes = {"0.weight": (16, FEATURES), "0.bias": (16,), "2.weight": (CLASSES, 16)}
    return {name: torch.zeros(shape) for name, shape in (shapes | {"2.bias": (CLASSES,)}).items()}


def overlapping() -> bytes:
    entry: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


WEIGHTS: dict[str, Callable[[], bytes]] = {
    "unsupported-format": lambda: pickle.dumps(tensors()),
    "weights-header-length": lambda: (1 << 40).to_bytes(8, "little") + b"{" + bytes(100),
    "weights-offsets": overlapping,
    "weights-mismatch": lambda: save(tensors() | {"2.weight": torch.zeros(CLASSES, 15)}),
    "weights-not-finite": lambda: save(tensors() | {"2.bias": torch.full((CLASSES,), torch.nan)}),
}


@pytest.fixture(scope="module")
def dataset_id(service: Service, tmp_path_factory: pytest.TempPathFactory) -> str:
    with Controller(service) as controller:
        return controller.dataset_of(MATERIAL, tmp_path_factory.mktemp("material"))


@pytest.mark.parametrize("code", list(WEIGHTS))
def test_unusable_weights(
    service: Service, controller: Controller, dataset_id: str, code: str
) -> None:
    model_id = controller.create_model("bad")["id"]
    version_id = controller.create_version(model_id, version_order(dataset_id))["id"]
    if code == "unsupported-format":
        # Refused by its first bytes, before anything is stored.
        with pytest.raises(ApiProblem) as problem:
            controller.upload_weights(model_id, version_id, WEIGHTS[code]())
        assert problem.value.code == code
        assert problem.value.status == 415
        assert controller.version(model_id, version_id)["state"] == "awaiting_weights"
    else:
        controller.upload_weights(model_id, version_id, WEIGHTS[code]())
        found = controller.wait_for_version(model_id, version_id, 60)
        assert (found["state"], found["error"]["code"]) == ("invalid", code)
    eventually(lambda: not [p for p in files_below(service.home / "store") if version_id in str(p)])


def test_network_that_does_not_fit_its_rows(controller: Controller, dataset_id: str) -> None:
    model_id = controller.create_model("bad")["id"]
    layers = [{"type": "linear", "in_features": FEATURES, "out_features": CLASSES - 1}]
    architecture = {"builder": "sequential", "config": {"layers": layers}}
    weights = save({
        "0.weight": torch.zeros(CLASSES - 1, FEATURES),
        "0.bias": torch.zeros(CLASSES - 1),
    })
    found = controller.version_of(
        model_id, weights, version_order(dataset_id, architecture=architecture, recipe=None)
    )
    assert (found["state"], found["error"]["code"]) == ("invalid", "network-does-not-run")
