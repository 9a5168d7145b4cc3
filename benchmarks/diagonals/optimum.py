"""Estimates of the diagonal of the Hessian at a trained optimum: R(1) beside Hutchinson's probes.

The dense network 784-256-256-10 is trained on scikit-learn's digits, enlarged to 28 x 28 pixels,
by L-BFGS on all rows until the gradient has vanished. The truth is the exact GGN diagonal, which is
that of the Hessian because the network is piecewise linear; a few of its entries are compared with
second derivatives by automatic differentiation first. Hutchinson's estimate is curvlinops' own, on
its Hessian operator. Costs are processor times, in those of a training pass over the same rows in
the same batches; R(1) takes its turns with the training pass, the probes are far longer than both.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.unlearning.curvature import ggn_diagonal, sketched_ggn_diagonal
from app.unlearning.objective import Objective
from app.unlearning.rows import TensorRows
from benchmarks.diagonals.networks import mlp

OBJECTIVE = Objective("cross_entropy")
DECAY = 1e-3
BATCH = 64
SHARES = (0.01, 0.05, 0.10)
TOGETHER = 20
"""Probes that curvlinops is given at a time: each takes as much memory as the network."""


def digits(rows: int) -> TensorRows:
    """Load digits as (rows, 784)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images[:rows], dtype=torch.float32)[:, None] / 16.0
    large = functional.interpolate(images, size=(28, 28), mode="bilinear")
    return TensorRows(large.flatten(1) - 0.3, torch.tensor(found.target[:rows]))


def train(model: nn.Module, rows: TensorRows, steps: int) -> float:
    """Minimise the mean loss with weight decay; return the norm of the gradient in the end."""
    parameters = list(model.parameters())
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=steps, tolerance_grad=1e-7, tolerance_change=0.0, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(rows.inputs), rows.targets)
        loss = loss + DECAY / 2 * torch.stack([p.square().sum() for p in parameters]).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    closure()
    norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
    model.zero_grad()
    return float(norm)


def second_derivatives(model: nn.Module, rows: TensorRows, positions: Tensor) -> Tensor:
    """Return a few diagonal entries of the Hessian of the mean loss by differentiating twice."""
    parameters = list(model.parameters())
    loss = functional.cross_entropy(model(rows.inputs), rows.targets)
    flat = _flat(torch.autograd.grad(loss, parameters, create_graph=True))
    return torch.stack([
        _flat(torch.autograd.grad(flat[p], parameters, retain_graph=True))[p] for p in positions
    ])


def hutchinson(model: nn.Module, rows: TensorRows, probes: int) -> Tensor:
    """Return curvlinops' estimate from ``probes`` products."""
    from curvlinops import HessianLinearOperator, hutchinson_diag

    parameters = list(model.parameters())
    operator = HessianLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        parameters,
        [(rows.inputs, rows.targets)],
        check_deterministic=False,
    )
    total = torch.zeros(sum(p.numel() for p in parameters))
    for start in range(0, probes, TOGETHER):
        count = min(TOGETHER, probes - start)
        total += hutchinson_diag(operator, count) * (count / probes)
    return total


def audit(*, quick: bool) -> list[str]:
    """Print the table; return a sentence for each way in which R(1) is not the better one."""
    torch.manual_seed(0)
    rows, probes = digits(100 if quick else 1000), 20 if quick else 1000
    model = mlp()
    norm = train(model, rows, 20 if quick else 500)
    print(f"\n784-256-256-10 at an optimum, {len(rows)} digits, gradient norm {norm:.1e}")
    truth = _flat(ggn_diagonal(model, OBJECTIVE, rows).values.values())
    largest = truth.topk(len(truth) // 100).indices[:: len(truth) // 1600]
    twice = second_derivatives(model, rows, largest)
    gap = float((truth[largest] - twice).norm() / twice.norm())
    print(f"  {len(largest)} entries of the truth beside second derivatives: error {gap:.1e}")
    print(f"  {'':34} {'passes':>9} {'error':>7}   share of the true top 1, 5, 10 %")

    def sketched(seed: int) -> Tensor:
        found = sketched_ggn_diagonal(model, OBJECTIVE, rows, seed=seed, batch_size=BATCH)
        return _flat(found.values.values())

    unit, once = _turns(lambda: _train_once(model, rows), lambda: sketched(0), 3 if quick else 21)
    estimates = [sketched(seed) for seed in range(5)]
    worst = _judge("ours: R(1), worst of five seeds", once / unit, estimates, truth)
    try:
        start = time.process_time()
        probed = hutchinson(model, rows, probes)
    except ModuleNotFoundError:
        print("  curvlinops: not installed")
        return []
    cost = (time.process_time() - start) / unit
    other = _judge(f"curvlinops: {probes} Hutchinson products", cost, [probed], truth)
    found = [] if gap < 1e-3 else [f"the truth is {gap:.1e} off the second derivatives"]
    if once / unit > 1.25 and not quick:
        found.append(f"R(1) at an optimum: {once / unit:.2f} passes > 1.25")
    if worst[0] >= other[0]:
        found.append(f"R(1) at an optimum: error {worst[0]:.2f} >= {other[0]:.2f}")
    for share, ours, theirs in zip(SHARES, worst[1:], other[1:], strict=True):
        if ours <= theirs:
            found.append(f"R(1) at an optimum: top {share:.0%}: {ours:.2f} <= {theirs:.2f}")
    return found


def _judge(name: str, cost: float, estimates: list[Tensor], truth: Tensor) -> list[float]:
    """Print the worst error and overlaps of some estimates, and return them in this order."""
    error = max(float((found - truth).norm() / truth.norm()) for found in estimates)
    overlaps = [min(_overlap(found, truth, share) for found in estimates) for share in SHARES]
    shares = "  ".join(f"{overlap:.2f}" for overlap in overlaps)
    print(f"  {name:34} {cost:9.2f} {error:7.2f}   {shares}")
    sys.stdout.flush()
    return [error, *overlaps]


def _overlap(found: Tensor, truth: Tensor, share: float) -> float:
    count = int(share * len(truth))
    both = set(found.topk(count).indices.tolist()) & set(truth.topk(count).indices.tolist())
    return len(both) / count


def _train_once(model: nn.Module, rows: TensorRows) -> None:
    for batch in rows.batches(BATCH):
        functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        model.zero_grad()


def _turns(
    one: Callable[[], object], other: Callable[[], object], turns: int
) -> tuple[float, float]:
    """Return the median processor times of two calls that take turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for call, times in zip((one, other), seconds, strict=True):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _flat(values: Iterable[Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values])
