"""Masked minimisation against closed forms."""

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from app.unlearning.errors import NonFinite
from app.unlearning.selection import Selection
from app.unlearning.solvers import masked_lbfgs
from app.unlearning.solvers.masked_lbfgs import Evaluate


def _quadratic(size: int, seed: int) -> tuple[Tensor, Tensor, Evaluate]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, dtype=torch.float64, generator=generator)
    bend = root @ root.T / size + 0.1 * torch.eye(size, dtype=torch.float64)
    slope = torch.randn(size, dtype=torch.float64, generator=generator)

    def evaluate(values: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        w = values["w"].flatten()
        return float(0.5 * w @ bend @ w - slope @ w), {"w": (bend @ w - slope).view(2, -1)}

    return bend, slope, evaluate


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_it_finds_the_restricted_minimum_and_touches_nothing_else(seed: int) -> None:
    bend, slope, evaluate = _quadratic(12, seed)
    torch.manual_seed(seed)
    start = {"w": torch.randn(2, 6, dtype=torch.float64), "other": torch.randn(3)}
    mask = torch.rand(2, 6) < 0.5
    mask[0, 0] = True
    found = masked_lbfgs(evaluate, start, Selection({"w": mask}), max_steps=200, tolerance=1e-7)
    w, chosen = start["w"].flatten(), mask.flatten()
    # A loss near 1 resolves gradients down to about the root of the precision, 1e-8.
    # The restricted normal equations: H_SS x_S = b_S - H_SR x_R.
    right = slope[chosen] - bend[chosen][:, ~chosen] @ w[~chosen]
    expected = torch.linalg.solve(bend[chosen][:, chosen], right)
    assert found.converged
    # No gradient entry above 1e-7 of some at the start, all below 10, and no curvature below 0.1:
    # off by sqrt(12) * 1e-5 at most.
    assert_close(found.values["w"].flatten()[chosen], expected, rtol=0, atol=4e-5)
    assert torch.equal(found.values["w"][~mask], start["w"][~mask])
    assert set(found.values) == {"w"}


@given(factor=st.floats(1e-12, 1e12), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_the_units_of_the_loss_change_nothing(factor: float, seed: int) -> None:
    _, _, evaluate = _quadratic(6, seed)

    def in_other_units(values: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        loss, gradient = evaluate(values)
        return factor * loss, {"w": factor * gradient["w"]}

    start = {"w": torch.ones(2, 3, dtype=torch.float64)}
    one, other = (
        masked_lbfgs(loss, start, Selection.everything(start), max_steps=6)
        for loss in (evaluate, in_other_units)
    )
    assert one.steps == other.steps == 6
    assert_close(one.values["w"], other.values["w"], rtol=1e-6, atol=1e-9)


def _rosenbrock(values: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    w = values["w"].detach().requires_grad_()
    loss = (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()
    return float(loss.detach()), {"w": torch.autograd.grad(loss, w)[0]}


def test_it_follows_a_curved_valley_without_ever_rising() -> None:
    seen: list[float] = []

    def evaluate(values: Mapping[str, Tensor]) -> tuple[float, Mapping[str, Tensor]]:
        loss, gradient = _rosenbrock(values)
        seen.append(loss)
        return loss, gradient

    start = {"w": torch.full((4,), -1.2, dtype=torch.float64)}
    everything = Selection.everything(start)
    losses = [
        masked_lbfgs(_rosenbrock, start, everything, max_steps=steps).loss_after
        for steps in range(0, 60, 6)
    ]
    assert losses == sorted(losses, reverse=True)
    found = masked_lbfgs(evaluate, start, everything, max_steps=300, tolerance=1e-8)
    assert found.converged
    assert found.loss_after < 1e-12 or found.loss_after == min(seen)
    assert found.evaluations == len(seen)
    assert found.steps < found.evaluations
    assert found.loss_before == seen[0]


def test_progress_is_told_and_may_abort() -> None:
    start = {"w": torch.full((4,), -1.2, dtype=torch.float64)}
    told: list[float] = []
    found = masked_lbfgs(
        _rosenbrock, start, Selection.everything(start), max_steps=5, progress=told.append
    )
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found.steps == 5
    assert not found.converged

    def abort(fraction: float) -> None:
        raise InterruptedError(fraction)

    with pytest.raises(InterruptedError):
        masked_lbfgs(_rosenbrock, start, Selection.everything(start), progress=abort)


def test_a_place_nothing_improves_is_kept() -> None:
    def uphill(values: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        # The gradient lies: every step raises the loss.
        return float(values["w"].abs().sum()), {"w": torch.ones_like(values["w"])}

    start = {"w": torch.zeros(3)}
    found = masked_lbfgs(uphill, start, Selection.everything(start))
    assert found.values["w"] is start["w"]
    assert (found.steps, found.loss_after, found.converged) == (0, 0.0, False)


def test_walls_of_infinity_are_backed_away_from() -> None:
    def walled(values: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        w = values["w"].detach().requires_grad_()
        loss = (w - torch.log(w)).sum()
        return float(loss.detach()), {"w": torch.autograd.grad(loss, w)[0]}

    start = {"w": torch.tensor([50.0, 0.01], dtype=torch.float64)}
    found = masked_lbfgs(walled, start, Selection.everything(start), max_steps=200)
    assert_close(found.values["w"], torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0)


def test_a_start_without_a_loss_is_refused() -> None:
    start = {"w": torch.zeros(2)}
    with pytest.raises(NonFinite):
        masked_lbfgs(lambda v: (float("nan"), dict(v)), start, Selection.everything(start))
