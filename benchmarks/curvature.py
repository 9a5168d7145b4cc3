"""Diagonals of the curvature beside BackPACK, opacus and vmap, as multiples of a training pass.

A training pass is one forward and one backward pass over the same batch, without an optimiser step.
All methods run in turns in one process, on one thread; the medians of their processor times count,
so that other processes do not. The accumulators are allocated once, as they are when a data set is
streamed. The error is the relative distance to the same diagonal from single rows. A method that
estimates says so; a peer that is not installed or does not support a network says that.

    python -m pip install -e '.[benchmarks]'
    python benchmarks/curvature.py
    python benchmarks/curvature.py --quick
"""

import argparse
import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from app.unlearning.curvature.gauss_newton import Sketch
from app.unlearning.curvature.squared_gradients import SquaredGradients
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch

OBJECTIVE = Objective("cross_entropy")
EXACT = 1e-5
"""Largest relative error of our exact diagonals, in single precision; beyond it the run fails."""

Diagonal = Sequence[Tensor]


class Residual(nn.Module):
    """Two convolutions with batch norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the shortcut to the two convolutions."""
        hidden = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(inputs)))))
        out: Tensor = self.relu2(hidden + self.shortcut(inputs))
        return out


def mlp() -> nn.Module:
    """A dense network for 28 x 28 pixels: 784-256-256-10."""
    return nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def lenet() -> nn.Module:
    """LeNet-5 with ReLU and max-pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def resnet8() -> nn.Module:
    """A residual network of eight layers for 32 x 32 images, its batch norms in eval mode."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP 784-256-256-10": (mlp, (784,)),
    "LeNet": (lenet, (1, 28, 28)),
    "ResNet-8": (resnet8, (3, 32, 32)),
}


@dataclass
class Method:
    """One way to a diagonal.

    Attributes:
        name: For the table.
        run: Computes it for the batch; sums over rows, one tensor per parameter.
        target: What it computes: ``fisher`` or ``ggn``; empty for the training pass.
        ours: Whether an exact result is expected of it.
        seconds: Processor time of each call.
        error: Relative error against single rows.
    """

    name: str
    run: Callable[[], Diagonal]
    target: str = ""
    ours: bool = False
    seconds: list[float] = field(default_factory=list)
    error: float | None = None


def training_pass(model: nn.Module, batch: Batch) -> Diagonal:
    """Forward and backward, gradients summed over the batch."""
    model.zero_grad()
    OBJECTIVE.losses(model(batch.inputs), batch.targets).sum().backward()
    return []


def ours(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """The diagonals of this project."""
    squares = SquaredGradients(model)
    sketch = Sketch(OBJECTIVE, draws=1, seed=0)
    targets = batch.targets

    def run(seeds: Callable[[Tensor], Iterator[Tensor]]) -> Diagonal:
        for total in squares.totals.values():
            total.zero_()
        squares.add(batch.inputs, seeds)
        return list(squares.totals.values())

    fisher = partial(run, lambda out: iter((OBJECTIVE.output_gradient(out, targets),)))
    yield Method("ours: empirical Fisher", fisher, "fisher", ours=True)
    yield Method("ours: R(1), an estimate", partial(run, partial(sketch, batch)), "ggn")
    yield Method("ours: GGN, exact", partial(run, OBJECTIVE.root_columns), "ggn", ours=True)


def single_rows(model: nn.Module, batch: Batch, target: str) -> Diagonal:
    """Square the gradients of one row after the other."""
    parameters = list(model.parameters())
    totals = [torch.zeros_like(p) for p in parameters]
    for row in range(len(batch)):
        one = batch.slice(row, row + 1)
        outputs = model(one.inputs)
        p = outputs.detach().softmax(1)
        seeds = [OBJECTIVE.output_gradient(outputs, one.targets)]
        if target == "ggn":
            # The columns sqrt(p_c) (e_c - p): another root than the one under test.
            seeds = [
                p[:, c].sqrt() * (functional.one_hot(torch.tensor([c]), 10) - p) for c in range(10)
            ]
        for seed in seeds:
            gradients = torch.autograd.grad(outputs, parameters, seed, retain_graph=True)
            for total, gradient in zip(totals, gradients, strict=True):
                total.addcmul_(gradient, gradient)
    return totals


def mapped(model: nn.Module, batch: Batch) -> Diagonal:
    """Map the gradient of one row over the batch with vmap."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(point: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        outputs = functional_call(model, point, (row[None],))
        return OBJECTIVE.losses(outputs, target[None])[0]

    gradients = vmap(grad(loss), (None, 0, 0))(values, batch.inputs, batch.targets)
    return [gradient.square().sum(0) for gradient in gradients.values()]


def backpack_methods(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """BackPACK, on a copy of the network; graphs with branches need its converter."""
    from backpack import backpack, extend, extensions

    branches = any(isinstance(module, Residual) for module in model.modules())
    twin = extend(copy.deepcopy(model), use_converter=branches).eval()
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(extension: Callable[[], object], attribute: str) -> Diagonal:
        twin.zero_grad()
        with backpack(extension()):
            loss(twin(batch.inputs), batch.targets).backward()
        return [getattr(p, attribute) for p in twin.parameters()]

    for target, extension, attribute, note in (
        ("fisher", extensions.SumGradSquared, "sum_grad_squared", ""),
        ("ggn", extensions.DiagGGNMC, "diag_ggn_mc", ", an estimate"),
        ("ggn", extensions.DiagGGNExact, "diag_ggn_exact", ""),
    ):
        name = f"BackPACK: {extension.__name__}{note}"
        yield Method(name, partial(run, extension, attribute), target)


def opacus_methods(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """Opacus, on a copy of the network."""
    from opacus import GradSampleModule

    twin = GradSampleModule(copy.deepcopy(model), loss_reduction="sum").train()

    def run() -> Diagonal:
        twin.zero_grad()
        OBJECTIVE.losses(twin(batch.inputs), batch.targets).sum().backward()
        return [p.grad_sample.square().sum(0) for p in twin.parameters()]

    yield Method("opacus: GradSampleModule", run, "fisher")


def peers(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """Everything to compare with; a package that is missing or refuses the network says so."""
    yield Method("batch of one", partial(single_rows, model, batch, "fisher"), "fisher")
    yield Method("vmap(grad)", partial(mapped, model, batch), "fisher")
    for name, build in (("BackPACK", backpack_methods), ("opacus", opacus_methods)):
        try:
            yield from build(model, batch)
        except ModuleNotFoundError:
            print(f"  {name}: not installed")
        except Exception as error:
            print(f"  {name}: refuses the network ({type(error).__name__})")


def distance(found: Diagonal, expected: Diagonal) -> float:
    """Return the norm of the difference over the norm of what is expected."""
    pairs = list(zip(found, expected, strict=True))
    gap = sum(float((a.detach() - b).double().square().sum()) for a, b in pairs)
    size = sum(float(b.double().square().sum()) for _, b in pairs)
    return float((gap / size) ** 0.5)


def compare(name: str, rows: int, repeats: int) -> bool:
    """Measure all methods on one network and print the table; return whether ours are exact."""
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    batch = Batch(torch.randn(rows, *shape), torch.randint(0, 10, (rows,)))
    expected = {target: single_rows(model, batch, target) for target in ("fisher", "ggn")}
    print(f"\n{name}, batch of {rows}")
    train = Method("forward + backward", partial(training_pass, model, batch))
    methods = [train]
    for method in (*ours(model, batch), *peers(model, batch)):
        try:
            method.error = distance(method.run(), expected[method.target])
        except Exception as error:
            print(f"  {method.name}: does not support the network ({type(error).__name__})")
        else:
            methods.append(method)
    for _ in range(repeats):
        for method in methods:
            start = time.process_time()
            method.run()
            method.seconds.append(time.process_time() - start)
    unit = statistics.median(train.seconds)
    print(f"  {'':32} {'passes':>8} {'error':>9}   (one pass: {1e3 * unit:.2f} ms)")
    for method in methods[1:]:
        passes = statistics.median(method.seconds) / unit
        print(f"  {method.name:32} {passes:8.2f} {method.error:9.1e}")
    return all(m.error is not None and m.error < EXACT for m in methods if m.ours)


def main() -> int:
    """Run the comparison; return 1 if an exact diagonal of ours is off."""
    parser = argparse.ArgumentParser(description="Curvature diagonals beside their peers.")
    parser.add_argument("--rows", type=int, default=64, help="rows of the batch")
    parser.add_argument("--repeats", type=int, default=15, help="calls of each method")
    parser.add_argument("--quick", action="store_true", help="few rows and calls, for CI")
    arguments = parser.parse_args()
    rows, repeats = (8, 3) if arguments.quick else (arguments.rows, arguments.repeats)
    torch.set_num_threads(1)
    # Peers warn about hooks and deprecations, which is theirs to mend.
    warnings.simplefilter("ignore")
    exact = [compare(name, rows, repeats) for name in NETWORKS]
    if not all(exact):
        print("an exact diagonal is off")
    return 0 if all(exact) else 1


if __name__ == "__main__":
    sys.exit(main())
