"""The ways to a diagonal: ours and those of public libraries."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from app.unlearning.curvature import (
    empirical_fisher_diagonal,
    ggn_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.curvature.gauss_newton import Sketch
from app.unlearning.curvature.squared_gradients import SquaredGradients
from app.unlearning.objective import Objective
from app.unlearning.rows import Batch
from benchmarks.diagonals.networks import Gpt, Residual

OBJECTIVE = Objective("cross_entropy")

Diagonal = Sequence[Tensor]


@dataclass
class Method:
    """One way to a diagonal.

    Attributes:
        name: For the table.
        run: Computes it for the batch; sums over rows, one tensor per parameter. Ours add to what
            earlier calls found.
        target: What it computes: ``fisher`` or ``ggn``; empty for the training pass.
        exact: Whether it is ours and has to be exact.
        whole: What to measure memory of; ``run`` unless given.
        seconds: Processor time of each call.
        error: Relative distance to single rows in double precision; None where these are unknown.
        peak: Bytes.
    """

    name: str
    run: Callable[[], Diagonal]
    target: str = ""
    exact: bool = False
    whole: Callable[[], object] | None = None
    seconds: list[float] = field(default_factory=list)
    error: float | None = None
    peak: int = 0


def training_pass(model: nn.Module, batch: Batch) -> Diagonal:
    """Forward and backward; the gradients are released in the end."""
    outputs = model(batch.inputs)
    functional.cross_entropy(outputs.flatten(0, -2), batch.targets.flatten()).backward()
    model.zero_grad()
    return []


def ours(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """The diagonals of this project.

    One batch of a stream is timed: its sums are there, and the network is known. Memory is that of
    a whole call from the outside, with the sums, the check on two rows and all the rest.
    """
    sketch = Sketch(OBJECTIVE, draws=1, seed=0)
    targets = batch.targets

    def streamed(seeds: Callable[[Tensor], Iterator[Tensor]]) -> Callable[[], Diagonal]:
        squares = SquaredGradients(model)

        def run() -> Diagonal:
            squares.add(batch.inputs, seeds)
            return list(squares.totals.values())

        return run

    arguments = model, OBJECTIVE, [batch]
    fisher = streamed(lambda out: iter((OBJECTIVE.output_gradient(out, targets),)))
    whole: Callable[[], object] = partial(empirical_fisher_diagonal, *arguments)
    yield Method("ours: empirical Fisher", fisher, "fisher", exact=True, whole=whole)
    whole = partial(sketched_ggn_diagonal, *arguments)
    drawn = streamed(partial(sketch, batch))
    yield Method("ours: R(1), an estimate", drawn, "ggn", whole=whole)
    if isinstance(model, Gpt):
        return  # One column for each token of the vocabulary at each position.
    whole = partial(ggn_diagonal, *arguments)
    columns = streamed(OBJECTIVE.root_columns)
    yield Method("ours: GGN, exact", columns, "ggn", exact=True, whole=whole)


def single_rows(model: nn.Module, batch: Batch, target: str) -> Diagonal:
    """Square the gradients of one row after the other."""
    parameters = list(model.parameters())
    totals = [torch.zeros_like(p) for p in parameters]
    for row in range(len(batch)):
        one = batch.slice(row, row + 1)
        outputs = model(one.inputs)
        if target == "ggn":
            # The columns sqrt(p_c) (e_c - p): another root than the one under test.
            p = outputs.detach().softmax(1)
            units = torch.eye(p.shape[1], dtype=p.dtype)
            seeds = [p[:, c, None].sqrt() * (units[c] - p) for c in range(p.shape[1])]
        else:
            (seed,) = torch.autograd.grad(
                functional.cross_entropy(outputs.flatten(0, -2), one.targets.flatten()),
                outputs,
                retain_graph=True,
            )
            seeds = [seed]
        for position, seed in enumerate(seeds):
            keep = position + 1 < len(seeds)
            gradients = torch.autograd.grad(outputs, parameters, seed, retain_graph=keep)
            for total, gradient in zip(totals, gradients, strict=True):
                total.addcmul_(gradient, gradient)
            del gradients, gradient
    return totals


def mapped(model: nn.Module, batch: Batch) -> Diagonal:
    """Map the gradient of one row over the batch with vmap."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(point: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        outputs = functional_call(model, point, (row[None],))
        return OBJECTIVE.losses(outputs, target[None])[0]

    # The fused attention kernel of the CPU has no rule for being mapped over.
    with sdpa_kernel(SDPBackend.MATH):
        gradients = vmap(grad(loss), (None, 0, 0))(values, batch.inputs, batch.targets)
    return [gradient.square().sum(0) for gradient in gradients.values()]


def backpack_methods(model: nn.Module, batch: Batch) -> Iterator[Method]:
    """BackPACK, on a copy of the network; graphs with branches need its converter."""
    from backpack import backpack, extend, extensions

    branches = any(isinstance(module, Residual | Gpt) for module in model.modules())
    twin = extend(copy.deepcopy(model), use_converter=branches).eval()
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run(extension: Callable[[], object], attribute: str) -> Diagonal:
        with backpack(extension()):
            loss(twin(batch.inputs), batch.targets).backward()
        found = [getattr(p, attribute) for p in twin.parameters()]
        twin.zero_grad()
        for p in twin.parameters():
            delattr(p, attribute)
        return found

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
        OBJECTIVE.losses(twin(batch.inputs), batch.targets).sum().backward()
        found = [p.grad_sample.square().sum(0) for p in twin.parameters()]
        twin.zero_grad()
        return found

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
