"""Parameters that meet operations nobody thought of: found in the graph, and never skipped."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from app.unlearning.curvature import empirical_fisher_diagonal
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from tests.unlearning.curvature.networks import Case
from tests.unlearning.curvature.oracles import flatten, looped_fisher


class Network(nn.Module):
    """A free parameter, a layer, and whatever is done with them before a dense head."""

    def __init__(
        self, run: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...], layer: nn.Module
    ) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.rand(shape) + 0.5)
        self.layer = layer
        self.head = nn.LazyLinear(3)
        self._run = run

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self._run(self, inputs) * self.free.sum()).flatten(1))


class Product(torch.autograd.Function):
    """A product that torch knows nothing about."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return gradients[0] @ w.t(), x.t() @ gradients[0]


def pruned() -> nn.Module:
    layer = nn.Linear(4, 4)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


def expert(net: Network, row: Tensor) -> Tensor:
    """One of two experts, whichever the row asks for."""
    experts: Any = net.layer
    return experts[0](row) if float(row[0]) > 0 else experts[1](row)


NOTHING = nn.Identity
OPERATIONS: dict[str, tuple[Callable[[Any, Tensor], Tensor], tuple[int, ...], Any]] = {
    "bilinear form": (lambda n, x: n.layer(x, x), (2,), lambda: nn.Bilinear(4, 4, 5)),
    "transposed convolution": (
        lambda n, x: n.layer(x[:, None]),
        (2,),
        lambda: nn.ConvTranspose1d(1, 2, 3),
    ),
    "leaky slopes": (lambda n, x: n.layer(x), (2,), lambda: nn.PReLU(4)),
    "gated recurrence": (
        lambda n, x: n.layer(x[:, :, None])[0][:, -1],
        (2,),
        lambda: nn.GRU(1, 3, batch_first=True),
    ),
    "one recurrent step": (lambda n, x: n.layer(x, x), (2,), lambda: nn.GRUCell(4, 4)),
    "norm of an instance": (
        lambda n, x: n.layer(x.view(-1, 2, 2)),
        (2,),
        lambda: nn.InstanceNorm1d(2, affine=True),
    ),
    "batched product": (
        lambda n, x: torch.bmm(x[:, None], n.free.expand(len(x), 4, 4)),
        (4, 4),
        NOTHING,
    ),
    "pruned weight": (lambda n, x: n.layer(x), (2,), pruned),
    "spectral norm": (
        lambda n, x: n.layer(x),
        (2,),
        lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    ),
    "function of one's own": (lambda n, x: Product.apply(x, n.free), (4, 4), NOTHING),
    "checkpoint": (
        lambda n, x: checkpoint(n.layer, x, use_reentrant=False),
        (2,),
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
    ),
    "choice by the data": (lambda n, x: torch.where(x > 0, n.free, x), (4,), NOTHING),
    "rows of a parameter": (lambda n, x: x + n.free[(x[:, 0] > 0).long()], (2, 4), NOTHING),
    "part of a parameter": (lambda n, x: x + n.free[:4], (7,), NOTHING),
    "power": (lambda n, x: x.abs() ** n.free, (4,), NOTHING),
    "function of a parameter": (lambda n, x: x * functional.softplus(n.free), (4,), NOTHING),
    "parameter on the left": (lambda n, x: (n.free @ x.t()).t(), (4, 4), NOTHING),
    "contraction": (lambda n, x: torch.tensordot(x, n.free, 1), (4, 2), NOTHING),
    "distance": (lambda n, x: torch.cdist(x, n.free), (3, 4), NOTHING),
    "largest of two": (lambda n, x: torch.maximum(x, n.free), (4,), NOTHING),
    "repeated token": (
        lambda n, x: torch.cat([n.free.repeat(len(x), 1), x], 1),
        (1, 2),
        NOTHING,
    ),
    "an expert for each row": (
        lambda n, x: torch.stack([expert(n, row) for row in x]),
        (2,),
        lambda: nn.ModuleList(nn.Linear(4, 4) for _ in range(2)),
    ),
    "filters in frequency": (
        lambda n, x: torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(n.free), 4),
        (3, 2),
        NOTHING,
    ),
    "weights of a filter": (
        lambda n, x: functional.conv1d(x[:, None], n.free * 2),
        (2, 1, 2),
        NOTHING,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_parameter_has_its_squares(name: str) -> None:
    run, shape, layer = OPERATIONS[name]
    torch.manual_seed(1)
    model = Network(run, shape, layer()).double().eval()
    inputs = torch.randn(5, 4, dtype=torch.float64)
    model(inputs)
    rows = TensorRows(inputs, torch.randint(0, 3, (5,)))
    case = Case(model, Objective("cross_entropy"), rows)

    found = empirical_fisher_diagonal(model, case.objective, rows, batch_size=3)

    assert found.exact
    assert_close(flatten(found.values), looped_fisher(case), rtol=1e-9, atol=1e-13)
    # Whatever takes no part here would be skipped without anybody noticing.
    assert all(bool(value.any()) for value in found.values.values())


def test_what_is_given_up_is_named() -> None:
    torch.manual_seed(1)
    model = Network(lambda n, x: n.layer(x, x), (2,), nn.Bilinear(4, 4, 5)).double().eval()
    inputs = torch.randn(5, 4, dtype=torch.float64)
    model(inputs)
    rows = TensorRows(inputs, torch.randint(0, 3, (5,)))
    for fallback, is_exact in (("rows", True), ("signs", False)):
        found = empirical_fisher_diagonal(
            model,
            Objective("cross_entropy"),
            rows,
            fallback=fallback,  # type: ignore[arg-type]  # of the two there are
        )
        assert {sentence.split(":")[0] for sentence in found.fallbacks} >= {"layer.weight"}
        assert found.exact is is_exact
