"""What happens when memory really runs out, and what is held at the worst moment."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from app.unlearning.curvature import empirical_fisher_diagonal, ggn_diagonal
from app.unlearning.curvature.squared_gradients import spread_scalars
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from benchmarks.diagonals.allocations import peak_bytes
from tests.unlearning.curvature.networks import classifier
from tests.unlearning.curvature.oracles import flatten

HALVING = """
import resource, sys
import torch
from torch import nn
from app.unlearning.curvature import empirical_fisher_diagonal
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows

torch.set_num_threads(1)
torch.manual_seed(0)
if sys.argv[1] == "dense":
    model = nn.Sequential(nn.Linear(8, 4096), nn.ReLU(), nn.Linear(4096, 3))
    rows = TensorRows(torch.randn(8192, 8), torch.randint(0, 3, (8192,)))
else:
    model = nn.Sequential(nn.Conv2d(2, 64, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12544, 3))
    rows = TensorRows(torch.randn(1024, 2, 16, 16), torch.randint(0, 3, (1024,)))
objective = Objective("cross_entropy")
small = empirical_fisher_diagonal(model, objective, rows, batch_size=32)
with open("/proc/self/statm") as sizes:
    held = int(sizes.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (48 << 20), resource.RLIM_INFINITY))
try:
    torch.empty(64 << 20)
except RuntimeError as error:
    print("allocator:", "DefaultCPUAllocator: can't allocate memory" in str(error))
found = empirical_fisher_diagonal(model, objective, rows, batch_size=len(rows))
print("rows:", found.rows == len(rows), "halved:", found.batch_size < len(rows))
pairs = [(found.values[name], small.values[name]) for name in small.values]
print("equal:", all(torch.allclose(a, b, rtol=1e-3, atol=1e-9) for a, b in pairs))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit and /proc are Linux's")
@pytest.mark.parametrize("network", ["dense", "convolution"])
def test_batches_are_halved_when_the_memory_of_the_process_is_used_up(network: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HALVING, network], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == [
        "allocator: True",
        "rows: True halved: True",
        "equal: True",
    ]


@pytest.fixture
def dense() -> tuple[nn.Module, TensorRows]:
    torch.manual_seed(0)
    layers = [nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    rows = TensorRows(torch.randn(256, 784), torch.randint(0, 10, (256,)))
    return nn.Sequential(*layers), rows


def test_a_diagonal_holds_no_more_than_training_does(dense: tuple[nn.Module, TensorRows]) -> None:
    model, rows = dense

    def train() -> None:
        functional.cross_entropy(model(rows.inputs[:64]), rows.targets[:64]).backward()
        model.zero_grad()

    objective = Objective("cross_entropy")
    ours = peak_bytes(lambda: empirical_fisher_diagonal(model, objective, rows, batch_size=64))
    # The whole call, with its check on two rows, over a stream of four batches.
    assert ours <= 1.25 * peak_bytes(train)


def test_memory_is_bounded_by_the_batch_and_not_by_the_rows(
    dense: tuple[nn.Module, TensorRows],
) -> None:
    model, rows = dense
    objective = Objective("cross_entropy")
    few = TensorRows(rows.inputs[:32], rows.targets[:32])
    for estimate in (empirical_fisher_diagonal, ggn_diagonal):
        short = peak_bytes(lambda e=estimate: e(model, objective, few, batch_size=16))  # type: ignore[misc]  # mypy cannot type a lambda's default
        long = peak_bytes(lambda e=estimate: e(model, objective, rows, batch_size=16))  # type: ignore[misc]  # the same
        assert long <= 1.01 * short


def test_the_check_samples_large_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.unlearning.curvature.squared_gradients._SAMPLE", 4)
    for name, found_out in (("relu mlp", False), ("time first", True)):
        case = classifier(name)
        found = ggn_diagonal(case.model, case.objective, case.rows)
        assert bool(found.fallbacks) is found_out
        assert_close(
            flatten(found.values),
            flatten(ggn_diagonal(case.model, case.objective, case.rows, batch_size=1).values),
            rtol=1e-9,
            atol=1e-12,
        )


def test_a_transposed_gradient_is_sampled_without_a_copy() -> None:
    gradient = torch.randn(1500, 1000).t()
    found: list[torch.Tensor] = []
    assert peak_bytes(lambda: found.append(spread_scalars(gradient))) < 0.4 * gradient.numel()
    assert len(found[0]) > 1000
    assert torch.equal(found[0], spread_scalars(gradient.contiguous()))


def test_the_check_leaves_out_no_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.unlearning.curvature.squared_gradients.MOST_COMPARED", 8)
    case = classifier("time first")
    case.model.layer.register_parameter("bias", None)  # type: ignore[union-attr]  # a layer
    found = ggn_diagonal(case.model, case.objective, case.rows)
    assert found.fallbacks
    alone = ggn_diagonal(case.model, case.objective, case.rows, batch_size=1)
    assert_close(flatten(found.values), flatten(alone.values), rtol=1e-9, atol=1e-12)
