"""On a CUDA device: the same diagonals and steps, bounded memory, and memory that runs out.

Run where a device is present; deselected elsewhere.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from app.unlearning.curvature import (
    Diagonal,
    empirical_fisher_diagonal,
    ggn_diagonal,
    hutchinson_diagonal,
    monte_carlo_fisher_diagonal,
    sketched_ggn_diagonal,
)
from app.unlearning.edited_loss import EditedLoss
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Problem
from app.unlearning.rows import TensorRows
from app.unlearning.selection import Selection
from app.unlearning.solvers import (
    captured_block,
    conjugate_gradient,
    ggn_vector_product,
    masked_lbfgs,
    solve_damped,
)
from benchmarks.diagonals.allocations import peak_bytes
from tests.unlearning.curvature.language_models import TRANSFORMERS, transformer
from tests.unlearning.curvature.networks import CLASSIFIERS, Case, classifier
from tests.unlearning.methods.problems import network

pytestmark = pytest.mark.gpu

# Double precision on both sides: other kernels add in another order, and nothing else.
assert_equal = partial(assert_close, rtol=1e-8, atol=1e-11)

ESTIMATES: dict[str, Callable[..., Diagonal]] = {
    "ggn": ggn_diagonal,
    "sketch": sketched_ggn_diagonal,
    "fisher": empirical_fisher_diagonal,
    "drawn": monte_carlo_fisher_diagonal,
    "audit": partial(hutchinson_diagonal, draws=3),
}

POSITIONS_ON_THE_CPU = {"attention", "tied attention"}
"""Networks of the tests that make their positions without asking where they are."""


def moved(rows: TensorRows) -> TensorRows:
    weights = None if rows.weights is None else rows.weights.cuda()
    return TensorRows(rows.inputs.cuda(), rows.targets.cuda(), weights)


def on_device(case: Case) -> Case:
    return Case(copy.deepcopy(case.model).cuda(), case.objective, moved(case.rows))


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("name", [*sorted(set(CLASSIFIERS) - POSITIONS_ON_THE_CPU), *TRANSFORMERS])
def test_the_diagonals_are_those_of_the_cpu(name: str, estimate: str) -> None:
    case = transformer(name) if name in TRANSFORMERS else classifier(name, weighted=True)
    there, compute = on_device(case), ESTIMATES[estimate]
    expected = compute(case.model, case.objective, case.rows, batch_size=3)
    # cuDNN's recurrent layers are differentiated in training mode only, and only once.
    with torch.backends.cudnn.flags(enabled=name != "lstm"):
        found = compute(there.model, there.objective, there.rows, batch_size=3)
    assert found.fallbacks == expected.fallbacks
    for parameter, values in found.values.items():
        assert values.is_cuda
        assert_equal(values.cpu(), expected.values[parameter])


def _damped(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda v: product(v) + 0.1 * v


@pytest.mark.parametrize("name", ["relu mlp", "residual cnn", "grouped cnn", "separate heads"])
def test_the_block_and_its_products_are_those_of_the_cpu(name: str) -> None:
    case = classifier(name, weighted=True)
    generator = torch.Generator().manual_seed(5)
    masks = {
        n: torch.rand(p.shape, generator=generator) < 0.3 for n, p in case.model.named_parameters()
    }
    results = []
    for here, chosen in (
        (case, Selection(masks)),
        (on_device(case), Selection({n: mask.cuda() for n, mask in masks.items()})),
    ):
        parts = here.model, here.objective, here.rows, chosen
        block = captured_block(*parts)
        right = torch.linspace(-1, 1, len(block), dtype=block.dtype, device=block.device)
        damped = _damped(ggn_vector_product(*parts))
        iterated = conjugate_gradient(damped, right, tolerance=1e-12, max_steps=400)
        solved = solve_damped(block, right, [0.1])
        solutions = [s.cpu() for s in solved if s is not None]
        assert len(solutions) == 1
        results.append([block.cpu(), *solutions, iterated.solution.cpu()])
    for found, expected in zip(results[1], results[0], strict=True):
        assert_close(found, expected, rtol=1e-6, atol=1e-9)


def _on_device(problem: Problem) -> Problem:
    parts: dict[str, Any] = {"model": copy.deepcopy(problem.model).cuda()}
    for part in ("forget", "replacement", "retained"):
        parts[part] = moved(getattr(problem, part))
    return replace(problem, **parts, holdout=None, full_retained=lambda: parts["retained"])


def test_masked_minimisation_descends_on_the_device() -> None:
    problem = _on_device(network("label_correction"))
    loss = EditedLoss(problem)
    start = {name: p.detach() for name, p in problem.model.named_parameters()}
    found = masked_lbfgs(loss.loss_and_gradient, start, Selection.everything(start), max_steps=5)
    assert found.loss_after < found.loss_before
    assert all(values.is_cuda for values in found.values.values())


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("sparse_newton", {"fraction": 0.2, "solver": "block"}),
        ("sparse_newton", {"fraction": 0.2, "solver": "lbfgs"}),
        ("influence", {"order": "first", "rate": 0.01}),
        ("saps", {}),
        ("fine_tune", {}),
    ],
)
def test_methods_publish_what_they_publish_on_the_cpu(
    method: str, parameters: dict[str, object]
) -> None:
    problem = network("label_correction")
    expected = make_method(method, parameters).unlearn(problem)  # type: ignore[arg-type]  # JSON
    found = make_method(method, parameters).unlearn(_on_device(problem))  # type: ignore[arg-type]  # JSON
    assert set(found.values) == set(expected.values)
    for name, values in found.values.items():
        # In single precision, over several steps.
        assert_close(values.cpu(), expected.values[name], rtol=1e-2, atol=1e-3)


@pytest.fixture
def wide() -> tuple[nn.Module, Objective, TensorRows]:
    """A network whose memory is that of its activations: 32 MiB for 512 rows and each layer."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 32 * 32, 4)).cuda().eval()
    rows = TensorRows(
        torch.randn(2048, 1, 32, 32, device="cuda"), torch.randint(0, 4, (2048,), device="cuda")
    )
    return model, Objective("cross_entropy"), rows


def test_memory_is_bounded_by_the_batch(wide: tuple[nn.Module, Objective, TensorRows]) -> None:
    model, objective, rows = wide
    few = TensorRows(rows.inputs[:256], rows.targets[:256])

    def peak(part: TensorRows, batch_size: int) -> int:
        return peak_bytes(
            lambda: empirical_fisher_diagonal(model, objective, part, batch_size=batch_size)
        )

    peak(few, 64)
    assert peak(rows, 64) <= 1.05 * peak(few, 64)
    assert peak(rows, 512) > 2 * peak(rows, 64)


@pytest.fixture
def limited() -> Iterator[None]:
    """Leave the process 256 MiB more of the device than it holds."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    share = (torch.cuda.memory_reserved() + 2**28) / total
    torch.cuda.set_per_process_memory_fraction(share)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_batches_are_halved_when_the_device_is_full(
    wide: tuple[nn.Module, Objective, TensorRows], limited: None
) -> None:
    model, objective, rows = wide
    expected = empirical_fisher_diagonal(model, objective, rows, batch_size=32)
    assert expected.batch_size == 32
    with pytest.raises(torch.OutOfMemoryError):
        functional.relu(model[0](rows.inputs)).square()  # type: ignore[index]  # it is Sequential
    torch.cuda.empty_cache()
    found = empirical_fisher_diagonal(model, objective, rows, batch_size=2048)
    assert found.rows == 2048
    assert 32 <= found.batch_size < 2048
    for name, values in found.values.items():
        assert_close(values, expected.values[name], rtol=1e-2, atol=1e-8)
