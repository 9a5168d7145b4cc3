"""Weights files go into networks and back without losing a bit or costing memory."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from app.infra.weights_file import BadOffsets, read_header
from app.unlearning.architectures import build, initialise
from app.unlearning.errors import ArchitectureError, WeightsMismatch
from workers.weights import load_weights, save_weights

SQUARE = {"type": "linear", "in_features": 6, "out_features": 6}
ARCHITECTURE: dict[str, Any] = {
    "builder": "sequential",
    "config": {
        "layers": [
            {"type": "linear", "in_features": 4, "out_features": 6},
            {"type": "batch_norm1d", "num_features": 6},
            {"type": "residual", "layers": [SQUARE]},
            {"type": "linear", "in_features": 6, "out_features": 2, "bias": False},
        ]
    },
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def trained() -> dict[str, torch.Tensor]:
    network = initialise(ARCHITECTURE, seed=4)
    network(torch.linspace(-1, 2, 36).reshape(9, 4))  # Moves the running statistics.
    return network.state_dict()


def test_a_saved_network_comes_back_bit_for_bit(path: Path) -> None:
    weights = trained()
    weights["0.weight"][0, :3] = torch.tensor([float("nan"), -0.0, 1e-42])
    saved = save_weights(weights, path)

    network = load_weights(path, build(ARCHITECTURE))

    assert list(network.state_dict()) == list(weights)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == weights[name].dtype
        assert tensor.numpy().tobytes() == weights[name].numpy().tobytes()
    assert all(parameter.requires_grad for parameter in network.parameters())
    content = path.read_bytes()
    assert saved.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert saved.size == len(content)


def test_other_readers_of_the_format_agree(path: Path) -> None:
    weights = {
        **trained(),
        "half": torch.randn(3).half(),
        "brain": torch.randn(3, 1).bfloat16(),
        "double": torch.randn(2).double(),
        "flag": torch.tensor([True, False, True]),
        "none": torch.empty(0, 3),
        "turned": torch.randn(3, 5).T,
        "scalar": torch.tensor(2.5),
    }
    save_weights(weights, path)
    theirs = load_file(path)
    assert theirs.keys() == weights.keys()
    assert all(torch.equal(theirs[name], weights[name]) for name in weights)
    widths = {"F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1}
    assert all(e.begin % widths[e.dtype] == 0 for e in read_header(path).tensors)


def test_the_same_weights_give_the_same_bytes_in_whatever_order(path: Path) -> None:
    weights = trained()
    first = save_weights(weights, path)
    second = save_weights(dict(reversed(weights.items())), path.with_name("again"))
    assert first == second


def test_slicing_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = save_weights(trained(), path)
    monkeypatch.setattr("workers.weights.CHUNK_BYTES", 7)
    assert save_weights(trained(), path) == whole


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    save_weights(trained(), path)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        save_weights({"a": torch.ones(3), "b": torch.ones(3, dtype=torch.complex64)}, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_every_kind_of_mismatch_is_named(path: Path) -> None:
    weights = trained()
    del weights["0.bias"]
    weights["0.weight"] = weights["0.weight"].T.contiguous()
    weights["3.weight"] = weights["3.weight"].half()
    weights["9.weight"] = torch.ones(1)
    save_file(weights, path)
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(path, build(ARCHITECTURE))
    assert caught.value.count == 4
    assert caught.value.mismatches == (
        "0.weight: shape [4, 6] instead of [6, 4]",
        "0.bias: missing",
        "3.weight: dtype F16 instead of F32",
        "9.weight: unexpected",
    )


def test_only_the_first_mismatches_are_listed(path: Path) -> None:
    save_file({f"x{i}": torch.ones(1) for i in range(20)}, path)
    with pytest.raises(WeightsMismatch) as caught:
        load_weights(path, build(ARCHITECTURE))
    assert len(caught.value.mismatches) == 5
    assert caught.value.count == 20 + len(trained())


def test_a_damaged_file_is_refused_before_it_is_mapped(path: Path) -> None:
    save_weights(trained(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadOffsets):
        load_weights(path, build(ARCHITECTURE))


def test_a_header_of_odd_length_gives_aligned_tensors(path: Path) -> None:
    save_weights(trained(), path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length] + b" "
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    network = load_weights(path, build(ARCHITECTURE))
    for name, tensor in network.state_dict().items():
        assert tensor.data_ptr() % tensor.element_size() == 0
        assert torch.equal(tensor, trained()[name])


def test_writing_to_a_loaded_network_does_not_write_to_its_file(path: Path) -> None:
    save_weights(trained(), path)
    before = path.read_bytes()
    network = load_weights(path, build(ARCHITECTURE))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert path.read_bytes() == before


def test_a_loaded_network_outlives_the_name_of_its_file(path: Path) -> None:
    save_weights(trained(), path)
    network = load_weights(path, build(ARCHITECTURE))
    path.unlink()
    assert torch.equal(network.state_dict()["0.weight"], trained()["0.weight"])


def test_a_network_with_tensors_outside_its_state_dict_is_refused(path: Path) -> None:
    with torch.device("meta"):
        network = nn.Linear(2, 2)
        network.register_buffer("table", torch.ones(3), persistent=False)
    save_weights({"weight": torch.ones(2, 2), "bias": torch.ones(2)}, path)
    with pytest.raises(ArchitectureError, match="outside its state dict"):
        load_weights(path, network)


MEMORY_PROGRAM = """
import sys
from pathlib import Path
import torch
from app.unlearning.architectures import build
from workers.weights import load_weights, save_weights

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

path, width, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
layer = {"type": "linear", "in_features": width, "out_features": width, "bias": False}
architecture = {"builder": "sequential", "config": {"layers": [layer] * count}}
torch.set_num_threads(1)
network = build(architecture)
before = anonymous()
network = load_weights(path, network)
with torch.no_grad():
    network(torch.ones(2, width))
loaded = anonymous() - before
save_weights(network.state_dict(), path.with_name("copy"))
print(loaded, anonymous() - before)
"""


def measure_memory(path: Path, width: int, count: int) -> tuple[int, int]:
    tensor = torch.randn(width, width) / width**0.5
    save_weights({f"{i}.weight": tensor for i in range(count)}, path)
    answer = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM, str(path), str(width), str(count)],
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    loaded, saved = answer.stdout.split()
    return int(loaded), int(saved)


def test_loading_running_and_saving_take_little_anonymous_memory(path: Path) -> None:
    loaded, saved = measure_memory(path, width=2048, count=10)  # 168 MB
    assert loaded < 40_000
    assert saved < 60_000
