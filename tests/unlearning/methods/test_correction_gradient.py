"""gamma of Warnecke et al., and how fast its two orders approach retraining, in float64."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from app.unlearning.double_precision import in_float64
from app.unlearning.edited_loss import correction_gradient
from app.unlearning.methods import make_method
from app.unlearning.objective import Objective
from app.unlearning.problem import Kind, Problem, StoredCurvature
from app.unlearning.rows import Rows, TensorRows, empty
from app.unlearning.update import JSON, apply_update
from tests.unlearning.methods.problems import blobs, flat, linear, network, ridge, ridge_optimum

DECAY = 1e-2


def swapped(problem: Problem, model: nn.Module | None = None) -> Problem:
    """The way back: from the corrected rows to what they were."""
    return replace(
        problem,
        model=model or problem.model,
        forget=problem.replacement,
        replacement=problem.forget,
    )


def somewhere(seed: int) -> Problem:
    """A network with wrong labels, thrown far away from where it was trained."""
    problem = in_float64(network("label_correction"))
    torch.manual_seed(seed)
    return problem.at({n: p + 0.3 * torch.randn_like(p) for n, p in problem.parameters.items()})


@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_gamma_is_antisymmetric_and_vanishes_where_nothing_changes(seed: int) -> None:
    problem = somewhere(seed)
    there, _ = correction_gradient(problem, problem.parameters)
    back, _ = correction_gradient(swapped(problem), problem.parameters)
    same = replace(problem, replacement=problem.forget)
    nothing, _ = correction_gradient(same, problem.parameters)
    for name, part in there.items():
        assert_close(back[name], -part, rtol=0.0, atol=1e-15)
        assert_close(nothing[name], torch.zeros_like(part), rtol=0.0, atol=1e-16)
    assert any(bool(part.any()) for part in there.values())


@pytest.mark.parametrize("name", ["influence", "saps"])
def test_there_and_back_returns_to_first_order(name: str) -> None:
    """What is missed falls with the square of the step: four times less for half of it."""
    problem, _, _ = ridge("feature_correction")

    def missed(rate: float) -> float:
        parameters: dict[str, JSON] = {"order": "first", "rate": rate}
        if name == "saps":
            parameters["fraction"] = 0.5
        method = make_method(name, parameters)
        there = apply_update(problem.model, method.unlearn(problem))
        moved = float((flat(there) - flat(problem.model)).norm())
        again = apply_update(there, method.unlearn(swapped(problem, there)))
        assert moved > 10 * float((flat(again) - flat(problem.model)).norm()) > 0
        return float((flat(again) - flat(problem.model)).norm())

    assert missed(2e-3) / missed(1e-3) == pytest.approx(4.0, rel=0.05)


def test_there_and_back_returns_exactly_on_a_part_of_ridge_regression() -> None:
    """The mask of saps is that of the version, so the way back solves the same block."""
    problem, _, _ = ridge("label_correction")
    draw = torch.Generator().manual_seed(3)
    values = {n: torch.rand(p.shape, generator=draw) for n, p in problem.parameters.items()}
    problem = replace(problem, curvature=StoredCurvature(values, "ggn", 60))
    method = make_method("saps", {"fraction": 0.5, "damping": 0.0})

    there = apply_update(problem.model, method.unlearn(problem))
    again = apply_update(there, method.unlearn(swapped(problem, there)))

    assert float((flat(there) - flat(problem.model)).norm()) > 0.1
    assert_close(flat(again), flat(problem.model), rtol=0.0, atol=1e-12)


def test_there_and_back_returns_where_sparse_newton_may_change_everything() -> None:
    problem, _, _ = ridge("feature_correction")
    method = make_method("sparse_newton", {"fraction": 1.0, "damping": 0.0})

    there = apply_update(problem.model, method.unlearn(problem))
    again = apply_update(there, method.unlearn(swapped(problem, there)))

    assert float((flat(there) - flat(problem.model)).norm()) > 1e-3
    assert_close(flat(again), flat(problem.model), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("kind", ["feature_correction", "deletion", "label_correction"])
def test_the_curvature_is_that_of_the_edited_data(kind: Kind) -> None:
    """On the rows as they were, only a change of labels would come out right."""
    problem, X, y = ridge(kind)
    old = torch.cat([b.inputs for rows in (problem.forget, problem.retained)
                     for b in rows.batches(100)])  # fmt: skip
    gamma, _ = correction_gradient(problem, problem.parameters)
    right = torch.cat([gamma["weight"][0], gamma["bias"]])
    wanted = ridge_optimum(X, y, 0.1) - flat(problem.model)

    def off(inputs: Tensor) -> float:
        A = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
        H = 2 * A.T @ A / len(A) + 0.1 * torch.eye(6, dtype=torch.float64)
        return float((-torch.linalg.solve(H, right) - wanted).norm() / wanted.norm())

    update = make_method("influence", {"solver": "exact", "damping": 0.0}).unlearn(problem)
    found = flat(apply_update(problem.model, update)) - flat(problem.model)
    assert float((found - wanted).norm() / wanted.norm()) < 1e-12
    assert off(X) < 1e-12
    assert (off(old) < 1e-12) is (kind == "label_correction")
    assert off(old) < 1e-12 or off(old) > 0.01


def logistic_optimum(parts: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Weights and bias of the least mean logistic loss plus decay, by Newton's method.

    Each part is inputs, labels in {0, 1} and how many rows each of them stands for.
    """
    theta = torch.zeros(parts[0][0].shape[1] + 1, dtype=torch.float64)
    total = sum(weight * len(X) for X, _, weight in parts)
    for _ in range(30):
        g, H = DECAY * theta, DECAY * torch.eye(len(theta), dtype=torch.float64)
        for X, y, weight in parts:
            A = torch.cat([X, torch.ones(len(X), 1, dtype=torch.float64)], 1)
            p = torch.sigmoid(A @ theta)
            g = g + weight / total * A.T @ (p - y)
            H = H + weight / total * A.T @ (A * (p * (1 - p))[:, None])
        theta = theta - torch.linalg.solve(H, g)
    return theta


@pytest.mark.parametrize("kind", ["deletion", "label_correction", "feature_correction"])
@pytest.mark.parametrize(("order", "ratio"), [("first", 2.0), ("second", 4.0)])
def test_half_the_share_halves_the_first_order_error_and_quarters_the_second(
    kind: Kind, order: str, ratio: float
) -> None:
    """The retained rows stand for m times as many, and nothing else is different."""
    inputs, labels = blobs(60, 1, classes=2)
    X, y = inputs.double(), labels.double()
    new_X = X[:4] * 0.3 if kind == "feature_correction" else X[:4]
    new_y = 1 - y[:4] if kind == "label_correction" else y[:4]
    replacement: Rows = empty() if kind == "deletion" else TensorRows(new_X, new_y)

    def error(m: float) -> float:
        kept, old = (X[4:], y[4:], m), (X[:4], y[:4], 1.0)
        problem = Problem(
            model=linear(logistic_optimum([kept, old])),
            objective=Objective("binary_cross_entropy", DECAY),
            kind=kind,
            forget=TensorRows(X[:4], y[:4]),
            replacement=replacement,
            retained=TensorRows(X[4:], y[4:]),
            retained_total=int(56 * m),
        )
        edited = [kept] if kind == "deletion" else [kept, (new_X, new_y, 1.0)]
        wanted = logistic_optimum(edited)
        parameters: dict[str, JSON] = {"order": order, "damping": 0.0}
        parameters |= {"rate": 1.0} if order == "first" else {"solver": "exact"}
        update = make_method("influence", parameters).unlearn(problem)
        return float((flat(apply_update(problem.model, update)) - wanted).norm())

    assert error(512) / error(1024) == pytest.approx(ratio, rel=0.05)


@given(seed=st.integers(0, 10_000), gone=st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_the_second_order_leaves_less_gradient_than_the_first_on_every_draw(
    seed: int, gone: int
) -> None:
    inputs, labels = blobs(120, 2, classes=2)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(seed))
    X, y = inputs.double()[order], labels.double()[order]
    problem = Problem(
        model=linear(logistic_optimum([(X, y, 1.0)])),
        objective=Objective("binary_cross_entropy", DECAY),
        kind="deletion",
        forget=TensorRows(X[:gone], y[:gone]),
        replacement=empty(),
        retained=TensorRows(X[gone:], y[gone:]),
        retained_total=120 - gone,
    )

    def left(order: str | None) -> float:
        theta = flat(problem.model)
        if order is not None:
            parameters: dict[str, JSON] = {"order": order, "damping": 0.0}
            # Warnecke's first order has a small rate: the least loss along gamma may well have a
            # larger gradient.
            parameters |= {"solver": "exact"} if order == "second" else {"rate": 0.1}
            theta = flat(
                apply_update(problem.model, make_method("influence", parameters).unlearn(problem))
            )
        A = torch.cat([X[gone:], torch.ones(120 - gone, 1, dtype=torch.float64)], 1)
        mean = A.T @ (torch.sigmoid(A @ theta) - y[gone:]) / len(A)
        return float((mean + DECAY * theta).norm())

    assert left("second") < left("first") < left(None)


@pytest.mark.parametrize("parameters", [{"order": "first", "rate": 1.0}, {"solver": "exact"}])
@pytest.mark.parametrize("name", ["influence", "saps"])
def test_a_small_request_among_many_rows_is_not_refused_for_noise(
    name: str, parameters: dict[str, JSON]
) -> None:
    """What three rows of 5,000 change is far below what a sample of the others says by chance."""
    inputs, labels = blobs(5000, 3, classes=2)
    X, y = inputs.double(), labels.double()
    model = linear(logistic_optimum([(X, y, 1.0)]))
    if name == "saps":
        parameters = {"order": parameters.get("order", "second"), "fraction": 1.0}
    for start in range(0, 15, 3):
        gone = torch.zeros(5000, dtype=torch.bool)
        gone[start : start + 3] = True
        problem = Problem(
            model=model,
            objective=Objective("binary_cross_entropy", DECAY),
            kind="label_correction",
            forget=TensorRows(X[gone], y[gone]),
            replacement=TensorRows(X[gone], 1 - y[gone]),
            retained=TensorRows(X[~gone], y[~gone]),
            retained_total=4997,
        )
        wanted = logistic_optimum([(X[~gone], y[~gone], 1.0), (X[gone], 1 - y[gone], 1.0)])
        update = make_method(name, parameters).unlearn(problem)
        found = flat(apply_update(model, update))
        assert float((found - wanted).norm()) < 0.99 * float((flat(model) - wanted).norm())
